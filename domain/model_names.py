"""What a model is called: the one name that jobs, items and workers must agree on, whoever derives it."""

from pathlib import Path


def model_name(model: str) -> str:
    """A folder's last component, or the hub id as it is. The folder need not be there: the API may lack it."""
    is_folder = model.startswith(("/", ".", "~")) or Path(model).exists()
    return Path(model).absolute().name if is_folder else model
