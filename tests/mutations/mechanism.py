"""One mechanism on which a promise rests, as a change that takes it away."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One mechanism: where it stands, what replaces it, and who should miss it: files, or single tests in them."""

    name: str
    file: str
    changes: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]

    def take_from(self, source: str) -> str:
        """The source without it; raises where the source is no longer what it was."""
        for present, replacement in self.changes:
            if source.count(present) != 1:
                raise ValueError(f"{self.file} has not exactly one {present!r}: write the change anew.")
            source = source.replace(present, replacement)
        return source
