"""Running the server: gunicorn, the home folder, backup, logs, and the data that workers share."""
