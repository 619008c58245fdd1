"""Training of personalised reward models (PersRM)."""
