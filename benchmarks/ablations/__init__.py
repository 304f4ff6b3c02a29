"""What each part of a build gives, and students side by side."""
