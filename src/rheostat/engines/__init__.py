"""Engines execute: they ask the methods, do the work and write the ledger."""
