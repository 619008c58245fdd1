"""Models whose vocabularies are padded to different sizes, decoded together.

Rows that one of them lacks stand for no token. What the base proposes to a model is therefore cut to what that model
has; where nobody else is asked, the base chooses among all of its own, as its `generate` does.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from worker.engine.forwards import LineForward
from worker.engine.layers.head import VocabularyHead
from worker.engine.runner import Runner


class UnevenRunner(Runner):
    """A runner beside others whose heads have more or fewer rows; all give logits of the same width."""

    def __init__(self, decoder: LineForward, head: VocabularyHead) -> None:
        super().__init__(decoder, head)
        self._all: Sequence[Runner] = (self,)

    def stand_beside(self, runners: Sequence[Runner]) -> None:
        """Name all runners of the engine, this one included."""
        self._all = runners

    def logits(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """[m, V] of the widest vocabulary: -inf where this model, or another that judges the request, has no token."""
        logits = super().logits(hidden, rows)
        width = max(runner.head.vocab_size for runner in self._all)
        logits = nn.functional.pad(logits, (0, width - logits.shape[1]), value=-torch.inf)
        num_tokens = torch.tensor(self._num_tokens(), device=logits.device)[rows]  # [m]
        return logits.masked_fill_(torch.arange(width, device=logits.device) >= num_tokens[:, None], -torch.inf)

    def columns(self, hidden: Tensor, rows: Tensor, token_ids: Tensor) -> Tensor:
        """[m, K]; of no meaning where this model lacks the token, which `logits` keeps from being proposed."""
        return super().columns(hidden, rows, token_ids.clamp(max=self.head.vocab_size - 1))

    def _num_tokens(self) -> list[int]:
        """For each row, how many tokens all models have that run its request."""
        least: dict[object, int] = {}
        for runner in self._all:
            for row in runner.table.rows:
                request_id = row.key[0]
                least[request_id] = min(least.get(request_id, runner.head.vocab_size), runner.head.vocab_size)
        return [least[row.key[0]] for row in self.table.rows]
