"""Profiles as a resource: read, write, import, export, feedback."""
