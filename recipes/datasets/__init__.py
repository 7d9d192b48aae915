"""TFDS builders of data that ships in Python packages, or that TFDS does not have."""
