"""A training: its folder, its options, fit with resume, its card."""
