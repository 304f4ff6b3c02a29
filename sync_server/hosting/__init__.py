"""Running the server: gunicorn, the home folder, backup, logs, and what its workers share."""
