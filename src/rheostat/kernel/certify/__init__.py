"""Bounds on a mean loss from a sample of it, and tests of many settings that hold together."""
