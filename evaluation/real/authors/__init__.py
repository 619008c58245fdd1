"""Do a user's examples carry the user's style? Ten invented authors, and attribution that does not know the method."""
