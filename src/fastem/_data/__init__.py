"""Data that come in blocks, for the estimators: read here, or held by workers."""
