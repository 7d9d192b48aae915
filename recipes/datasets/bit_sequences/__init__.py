"""Sequences of random bits that are to be copied or recalled."""
