"""Plain-NumPy EM, one file per model: the tests' oracle and the bench's baseline."""
