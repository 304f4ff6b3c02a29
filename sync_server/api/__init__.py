"""Every HTTP route, one file for each subject. The work of a route is done in the folder of its subject."""
