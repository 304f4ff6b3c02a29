"""Speed, memory and start on a device and in a browser."""
