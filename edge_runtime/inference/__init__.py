"""Running models: the interpreter behind one door, and text to vector."""
