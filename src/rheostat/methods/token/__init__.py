"""Constrained decoding: which token is taken, after how many checks, at which weight?"""
