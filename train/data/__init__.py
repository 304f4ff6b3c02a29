"""The shop: reads, checks and cleans its tables; importers; the sample shop."""
