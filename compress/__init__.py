"""Prunes, quantizes and converts a student, and writes the bundle."""
