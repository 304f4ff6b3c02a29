"""All ranking metrics and intervals. NumPy only, so that every package can use them."""
