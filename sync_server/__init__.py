"""Serves signed updates to the fleet and stores its feedback."""
