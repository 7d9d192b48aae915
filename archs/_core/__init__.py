"""Machinery of the catalog; no equations."""
