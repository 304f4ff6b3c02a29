"""The shop: reading, checking and cleaning of its tables, importers, the sample shop."""
