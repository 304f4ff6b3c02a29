"""What a finished bundle is worth and costs: ranking quality, latency, memory, opening. Trains nothing."""
