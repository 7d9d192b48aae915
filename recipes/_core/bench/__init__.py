"""`python -m recipes bench`: what cells, training steps, exports and servers cost, beside other libraries."""
