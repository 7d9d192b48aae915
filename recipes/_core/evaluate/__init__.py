"""Baselines that a model has to beat, and pictures of its answers."""
