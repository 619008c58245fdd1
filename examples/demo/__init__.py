"""The demo world: a grammar of short messages in checkable styles, and a small base model and PersRM trained on it."""
