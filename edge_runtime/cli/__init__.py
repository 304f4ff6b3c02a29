"""The commands that a device has: answers from a bundle, and the node. Parsing and printing only."""
