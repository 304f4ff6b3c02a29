"""The sample shop: synthetic and seeded, for quick starts and tests. Its figures say nothing about a real shop."""
