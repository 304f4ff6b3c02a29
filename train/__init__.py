"""Reads a shop, fine-tunes the BERT teacher on it and distills the small student."""
