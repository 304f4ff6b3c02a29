"""Every HTTP route, one file a subject. What a route does lies in the folder of its subject."""
