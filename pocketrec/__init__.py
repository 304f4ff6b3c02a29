"""The command `pocketrec`, and what spans the rooms: builds, publishing."""

__version__ = "0.1.0"
