"""Recipes: one page per trained model. `python -m recipes list`."""
