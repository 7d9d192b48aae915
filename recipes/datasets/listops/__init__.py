"""Nested operations on lists of digits, and their values."""
