"""Whether token ids mean the same to all models, and which ids all of them have.

Models of one family pad their vocabularies to different sizes (151,936 and 152,064 rows for one tokenizer). Rows beyond
the tokenizer's tokens stand for nothing, so models that differ in them alone go together. Others go together by way of
text (`worker.engine.cross_tokenizer`).
"""

from collections.abc import Sequence

from worker.engine.checkpoints.checkpoint import Checkpoint
from worker.engine.checkpoints.tokenizer_files import TokenizerFiles, why_contradicting, why_unlike
from worker.engine.errors import VocabularyMismatchError


def differing(
    base: Checkpoint, tokenizer: TokenizerFiles, others: Sequence[Checkpoint], sizes: Sequence[int]
) -> dict[int, str]:
    """The other whole models, by number, to which a token id does not mean what it means to the base, and why.

    `tokenizer` is the base's; `sizes` are the rows of the vocabulary heads, the base's first. Raises
    VocabularyMismatchError where heads of one tokenizer are of different sizes, and neither holds all of its tokens.
    """
    found: dict[int, str] = {}
    for number, (checkpoint, size) in enumerate(zip(others, sizes[1:], strict=True), start=1):
        cause = why_unlike(tokenizer, checkpoint.tokenizer)
        if cause is not None:
            found[number] = cause
        elif size != sizes[0]:
            num_tokens = tokenizer.vocabulary.size if tokenizer.vocabulary else None
            if num_tokens is None or min(size, sizes[0]) < num_tokens:
                cause = f"{size} and {sizes[0]} tokens"
                raise VocabularyMismatchError(path=checkpoint.path, base=base.path, cause=cause)
    return found


def check_guides(guides: Sequence[Checkpoint]) -> None:
    """Raise VocabularyMismatchError unless those whose tokens are not the base's have one tokenizer."""
    for guide in guides[1:]:
        cause = why_unlike(guides[0].tokenizer, guide.tokenizer)
        if cause is not None:
            raise VocabularyMismatchError(path=guide.path, base=guides[0].path, cause=cause)


def check_adapter(base: Checkpoint, tokenizer: TokenizerFiles, adapter: Checkpoint) -> None:
    """Raise VocabularyMismatchError where an adapter brings a tokenizer that numbers the base's tokens differently.

    It needs none, because it reads and writes with the base's vocabulary; a token of its own, for padding say, harms
    nobody.
    """
    ours, theirs = tokenizer.vocabulary, adapter.tokenizer.vocabulary
    cause = why_contradicting(ours, theirs) if ours and theirs else None
    if cause is not None:
        raise VocabularyMismatchError(path=adapter.path, base=base.path, cause=cause)
