"""Machinery that all recipes share: command line, data, training, export, cards, plots."""
