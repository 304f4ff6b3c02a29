"""The agreement between builder, server and device; it imports nothing else of ours."""
