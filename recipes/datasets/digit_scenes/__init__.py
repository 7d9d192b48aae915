"""Pictures of handwritten digits in places, with captions."""
