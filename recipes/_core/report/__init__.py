"""Runs beside one another: on a page, and as a table of kept cards."""
