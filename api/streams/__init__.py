"""Waiting for answers and following them while they grow: ends of jobs, events, texts in pieces."""
