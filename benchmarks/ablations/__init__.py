"""The contribution of each part of a build, and a comparison of student architectures."""
