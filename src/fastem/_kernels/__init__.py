"""The compiled kernels: hot loops on validated arrays, one module per model family."""
