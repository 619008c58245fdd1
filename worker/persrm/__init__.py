"""Training and evaluation of personalised reward models (PersRM)."""
