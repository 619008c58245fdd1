"""What a model is called: the one name that jobs, items and workers must agree on, whoever derives it."""

from pathlib import Path

LONGEST_NAME = 256
"""Characters: what the database takes."""


def is_name(text: str) -> bool:
    """Whether a job could call a model so: what stands behind an @ would be taken for a digest."""
    return bool(text.strip()) and len(text) <= LONGEST_NAME and text.isprintable() and "@" not in text


def model_name(model: str) -> str:
    """A folder's last component, or the hub id as it is. The folder need not be there: the API may lack it."""
    is_folder = model.startswith(("/", ".", "~")) or Path(model).exists()
    return Path(model).absolute().name if is_folder else model
