"""Rows of keys, values and recurrent state, one per stream, and the memory that they take."""
