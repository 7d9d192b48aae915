"""Monthly sunspot numbers."""
