"""The commands of a device: answers from a bundle, and the node. Parsing and printing only."""
