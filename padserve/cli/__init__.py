"""The `padserve` command: what people type, and what a terminal shows."""
