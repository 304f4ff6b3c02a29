"""The command `pocketrec`, and what uses several packages: builds and publishing."""

__version__ = "0.1.0"
