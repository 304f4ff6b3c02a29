"""Next-basket recommendation, cold start and taste."""
