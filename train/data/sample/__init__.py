"""The sample shop: synthetic and seeded, for quick starts and tests. Nothing is claimed on it."""
