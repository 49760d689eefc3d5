"""Benchmarks: each suite answers one question and writes one result file."""
