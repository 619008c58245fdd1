"""What the demos have in common: one job on a private stack, told in a terminal."""
