"""Product search beside published peers."""
