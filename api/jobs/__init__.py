"""Jobs as a resource: list, follow, steer, read results."""
