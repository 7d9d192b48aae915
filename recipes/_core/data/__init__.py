"""Datasets, and what is read of a person: pictures, sounds, scores, texts."""
