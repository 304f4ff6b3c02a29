"""Staged releases: plan, guardrails, measurements, and what devices are offered. No HTTP."""
