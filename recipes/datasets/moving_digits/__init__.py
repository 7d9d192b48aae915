"""Clips of two handwritten digits that move."""
