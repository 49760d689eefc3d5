"""Samples of one question: draw another one, prune one, or answer?"""
