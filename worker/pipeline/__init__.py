"""The main path: items are claimed, decoded and saved; and what others left undone is put right."""
