"""The fleet: enrollment, the registry, which bundle each device has. No HTTP."""
