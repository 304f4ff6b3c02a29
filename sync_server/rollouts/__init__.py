"""Staged releases: plan, guardrails, measurements, and offers to devices. No HTTP."""
