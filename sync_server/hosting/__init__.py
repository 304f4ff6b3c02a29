"""Runs the server: gunicorn, the home folder, backup, logs, and state that workers share."""
