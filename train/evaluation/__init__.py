"""Every ranking metric and every interval. NumPy only, so that every room may measure with them."""
