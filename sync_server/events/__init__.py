"""Feedback: storing, export, counting and erasure. No HTTP."""
