"""Runs models: the interpreter, and text to vector."""
