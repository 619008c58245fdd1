"""Model folders: where they are, what their files say, and a sentence on what of it cannot be served."""
