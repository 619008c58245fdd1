"""The proof at load that branches of a tree are judged as the texts that they are."""

from collections.abc import Collection
from itertools import islice

from transformers import PreTrainedModel

from worker.engine.cross_tokenizer.runner import TextRunner
from worker.engine.errors import UnsupportedModelError
from worker.engine.loading.proof import MOST_PROVED, TOLERANCE, ordinary_token_ids, special_ids_of

_NUM_BRANCHED = 3  # tokens of a branch
_GOES_FORWARD_ONLY = (
    "it carries a state from token to token, and cannot go back where a text changes in its own tokens: to guide a "
    "base with another tokenizer, choose a model without recurrent layers"
)


def prove_trees(path: str, model: PreTrainedModel, runner: TextRunner, adapters: Collection[int]) -> None:
    """Raise UnsupportedModelError where it cannot go back, or where its layers mix what branches."""
    if runner.is_recurrent:
        raise UnsupportedModelError(path=path, cause=_GOES_FORWARD_ONLY)
    ordinary = ordinary_token_ids(runner.head.vocab_size, special_ids_of(model.config))
    widest = max((window for window in runner.windows if window is not None), default=0)
    length = max(1, min(max(_NUM_BRANCHED, min(widest, MOST_PROVED)), runner.max_length - 2 * _NUM_BRANCHED))
    trunk, first, second = (tuple(islice(ordinary, number)) for number in (length, _NUM_BRANCHED, _NUM_BRANCHED))
    for adapter in sorted(adapters):
        if not runner.tree_error(trunk, first, second, adapter) <= TOLERANCE[model.dtype]:
            cause = "its layers do not keep apart texts that branch, which guiding with another tokenizer asks for"
            raise UnsupportedModelError(path=path, cause=cause)
