"""Topic models: PLSA, latent Dirichlet allocation, Gaussian LDA."""
