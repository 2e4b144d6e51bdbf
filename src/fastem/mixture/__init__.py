"""Mixtures: components under one set of weights."""
