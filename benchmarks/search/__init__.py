"""Product search against published peers."""
