"""Ships signed updates to the fleet and takes its feedback back."""
