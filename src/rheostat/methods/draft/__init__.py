"""Draft sources: which tokens may come next, and how many are worth verifying?"""
