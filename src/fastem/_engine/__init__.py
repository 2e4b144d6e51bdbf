"""Arithmetic and plumbing that know no model: statistics, threads, arrays."""
