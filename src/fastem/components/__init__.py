"""Component families: log-densities, statistics under responsibilities, estimates, starts."""
