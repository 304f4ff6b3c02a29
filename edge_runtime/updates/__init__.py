"""Keeping a bundle fresh: asking, verifying, downloading, proving, switching, going back."""
