"""Sequences of random symbols, and their parity, their sum, or themselves."""
