"""Descriptions of pictures in English, German and French."""
