"""Intervals and tests that stay valid under repeated evaluation. No database, no HTTP."""
