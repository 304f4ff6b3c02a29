"""Reads a shop, fine-tunes the BERT teacher on it and distils the small student."""
