"""Experiments between releases. No HTTP."""
