"""The source of the Python standard library, each character with its class."""
