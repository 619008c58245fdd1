"""Long lists in parts that fit a statement: databases bound the number of its parameters."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """The values in order, `size` at a time."""
    source = iter(values)
    while batch := list(islice(source, size)):
        yield batch
