"""Sequences: Markov chains over any family of components."""
