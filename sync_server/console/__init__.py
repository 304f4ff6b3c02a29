"""The operators' pages: rendered on the server, one small script, nothing from elsewhere."""
