"""The peers, each behind the same small interface."""
