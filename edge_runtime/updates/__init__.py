"""Updates of a bundle: check, verify, download, self-test, switch, roll back."""
