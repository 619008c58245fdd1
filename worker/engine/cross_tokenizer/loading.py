"""From the tokenizers of two model folders to how one reads what the other writes."""

from collections.abc import Collection, Sequence

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedModel

from worker.engine.checkpoints.architecture import longest_exact
from worker.engine.checkpoints.checkpoint import Checkpoint
from worker.engine.checkpoints.tokenizer_files import TokenizerFiles
from worker.engine.checkpoints.vocabularies import check_guides, differing
from worker.engine.cross_tokenizer.retokenizing import Retokenizer
from worker.engine.cross_tokenizer.spelling import Spelling, UnknownSpellingError
from worker.engine.cross_tokenizer.texts import Crossing
from worker.engine.errors import VocabularyMismatchError, first_line


def crossings_between(
    wholes: Sequence[Checkpoint], sizes: Sequence[int], tokenizer: TokenizerFiles, ends: Collection[int]
) -> dict[int, Crossing]:
    """How each whole model whose tokenizer is not the base's, by number, reads what that writes.

    The base is the first, with this tokenizer; `ends` are its last tokens, `sizes` the rows of the heads. Raises
    VocabularyMismatchError where texts cannot be carried over, or where guides have different tokenizers.
    """
    base = wholes[0]
    causes = differing(base, tokenizer, wholes[1:], sizes)
    crossings = {number: _crossing_between(base, wholes[number], cause, ends) for number, cause in causes.items()}
    if crossings:
        check_guides(wholes[1:])
    return crossings


def _crossing_between(base: Checkpoint, guide: Checkpoint, cause: str, ends: Collection[int]) -> Crossing:
    """How the guide reads the base, whose tokenizers differ by the cause; `ends` are the base's last tokens.

    Raises VocabularyMismatchError where a text cannot be carried over from one to the other.
    """
    of_base, of_guide = (_tokenizer(checkpoint, base, guide, cause) for checkpoint in (base, guide))
    try:
        spelling = Spelling.of(of_base, silent=base.tokenizer.special_ids)
    except UnknownSpellingError as error:
        raise VocabularyMismatchError(
            path=guide.path, base=base.path, cause=f"{cause}; texts cannot be carried over: {error}"
        ) from error
    return Crossing(spelling, Retokenizer(of_guide), frozenset(ends), guide.tokenizer.end_of_answer)


MOST_TOKENS_PER_TOKEN = 8
"""Most tokens of a guide's for one of the base's: a byte each, of words of the usual length."""


def guide_length(model: PreTrainedModel, max_length: int) -> int:
    """Most tokens of a text in a guide's own tokens, of which there may be more than of the base's."""
    exact = longest_exact(model.config)
    longest = MOST_TOKENS_PER_TOKEN * max_length
    return longest if exact is None else min(exact, longest)


def _tokenizer(checkpoint: Checkpoint, base: Checkpoint, guide: Checkpoint, cause: str) -> Tokenizer:
    """A checkpoint's tokenizer, read anew so that it may be changed; raises VocabularyMismatchError."""
    try:
        read = AutoTokenizer.from_pretrained(checkpoint.folder, local_files_only=True, trust_remote_code=False)
        backend = read.backend_tokenizer
    except Exception as error:  # readers of tokenizers have no common error
        why = f"{cause}; the tokenizer of {checkpoint.path!r} cannot be used for texts: {first_line(error)}"
        raise VocabularyMismatchError(path=guide.path, base=base.path, cause=why) from error
    if not isinstance(backend, Tokenizer):
        why = f"{cause}; {checkpoint.path!r} has no tokenizer.json, which texts are carried over with"
        raise VocabularyMismatchError(path=guide.path, base=base.path, cause=why)
    return backend
