"""The operators' pages: rendered on the server, one small script, no external resources."""
