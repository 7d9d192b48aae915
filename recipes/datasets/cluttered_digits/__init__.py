"""A handwritten digit somewhere in a picture, among pieces of others."""
