"""Measures what guidance does to a user's own models on a user's own suite: methods, controls, claims, one report."""
