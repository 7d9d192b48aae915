"""5,000 digits of MNIST."""
