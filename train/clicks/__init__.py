"""Learning from feedback: the log, position bias, tuning on clicks, and estimates of what a new ranking is worth."""
