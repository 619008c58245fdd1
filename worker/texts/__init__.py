"""Between text and token ids: prompts, formats, methods as streams, stop texts."""
