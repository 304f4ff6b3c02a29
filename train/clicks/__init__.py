"""Learning from feedback: the log, position bias, tuning on clicks, and off-policy estimates of a new ranking."""
