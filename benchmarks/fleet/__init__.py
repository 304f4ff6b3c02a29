"""Server, fleet, deltas, rollouts and the learning loop."""
