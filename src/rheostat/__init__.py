"""Rheostat: adaptive computation for language models."""
