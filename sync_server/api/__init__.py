"""The HTTP routes, one file for each subject. Their logic is in the folder of the subject."""
