"""Depth decisions: which sub-layers does this row run?"""
