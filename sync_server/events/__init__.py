"""Feedback as it is stored, exported, counted and erased. No HTTP."""
