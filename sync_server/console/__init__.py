"""The operators' pages: rendered on the server, with one small script and nothing from other sites."""
