"""K-means: the hard limit of a mixture."""
