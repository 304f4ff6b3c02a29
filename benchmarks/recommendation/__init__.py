"""Next-basket recommendation, cold start, and the user's taste."""
