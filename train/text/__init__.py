"""Texts for training: augmentation, synthetic queries, synonyms, and a cache of their vectors."""
