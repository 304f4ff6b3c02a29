"""Texts to train on and to encode: augmentation, synthetic queries, synonyms, kept vectors."""
