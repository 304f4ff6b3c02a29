"""The sync server: serves signed updates to the fleet and receives its feedback."""
