"""From last hidden states to logits: all of the vocabulary, or only the columns of some candidates.

Only a base stream proposes tokens. What the other streams say of everything but the k candidates changes no choice,
so they need k columns of the head instead of V: h W[candidates].
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from worker.engine.layers.lora import RowAdaptedLinear
from worker.engine.layers.packed import laid_out, plain_of


@dataclass(frozen=True, slots=True)
class ValueHead:
    """The affine map between the last hidden state and the head of a PAD policy: h -> V h + v (its w_p)."""

    weight: Tensor
    """[d, d]."""
    bias: Tensor | None

    def __call__(self, hidden: Tensor) -> Tensor:
        """[n, d] -> [n, d]."""
        return nn.functional.linear(hidden, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class LogitScale:
    """What some architectures do to logits behind the head: z -> cap tanh(factor z / cap)."""

    factor: float = 1.0
    softcap: float | None = None

    @classmethod
    def of(cls, config: PreTrainedConfig) -> "LogitScale":
        """As the configuration states it; a model that does more than this is found out at load."""
        text = config.get_text_config()
        factor = getattr(text, "logit_scale", None) or 1.0
        divisor = getattr(text, "logits_scaling", None) or 1.0
        return cls(factor / divisor, getattr(text, "final_logit_softcapping", None))

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits of any shape, scaled and capped elementwise."""
        if self.factor != 1.0:
            logits = logits * self.factor
        return logits if self.softcap is None else torch.tanh(logits / self.softcap) * self.softcap


class VocabularyHead:
    """The head of one model, its value heads and adapters included."""

    def __init__(self, model: PreTrainedModel) -> None:
        layer = vocabulary_layer(model)
        self._adapted = layer if isinstance(layer, RowAdaptedLinear) else None
        plain = layer.wide if isinstance(layer, RowAdaptedLinear) else layer
        self._weight = layer.weight
        self._bias = plain.bias
        self._product = laid_out(*plain_of(plain)) or plain
        self._scale = LogitScale.of(model.config)
        self.values: Mapping[int, ValueHead] = {}
        """Value heads by adapter number, 0 for the model itself; an adapter without one has the model's."""

    @property
    def vocab_size(self) -> int:
        """V, the number of logits of a hidden state."""
        return len(self._weight)

    @property
    def tells_rows_apart(self) -> bool:
        """Whether an adapter reaches the head, so that it must be told whose hidden states it is given."""
        return self._adapted is not None or any(self.values)

    def logits(self, hidden: Tensor, adapters: Tensor | None = None) -> Tensor:
        """[n, d] -> [n, V]; `adapters` [n] are the rows' where it tells them apart."""
        logits: Tensor = self._product(self._valued(hidden, adapters))
        return self._scale(self._adapted.updated(logits) if self._adapted else logits)

    def columns(self, hidden: Tensor, token_ids: Tensor, adapters: Tensor | None = None) -> Tensor:
        """[n, d] and [n, K] -> [n, K], the logits of these tokens."""
        hidden = self._valued(hidden, adapters)
        logits = _dot(self._weight[token_ids], hidden)
        if self._bias is not None:
            logits = logits + self._bias[token_ids]
        if self._adapted and self._adapted.any_adapted:
            low = self._adapted.masked(nn.functional.linear(hidden, self._adapted.down))
            logits = logits + _dot(self._adapted.up[token_ids], low)
        return self._scale(logits)

    def _valued(self, hidden: Tensor, adapters: Tensor | None) -> Tensor:
        hidden = hidden.to(self._weight.dtype)  # Mamba's states are float32, whatever its weights are
        valued = self.values[0](hidden) if 0 in self.values else hidden
        for adapter, value in self.values.items():
            if adapter and adapters is not None:
                valued = torch.where(adapters[:, None] == adapter, value(hidden), valued)
        return valued


def _dot(matrices: Tensor, vectors: Tensor) -> Tensor:
    """[n, K, d] and [n, d] -> [n, K]."""
    return torch.bmm(matrices, vectors[:, :, None])[:, :, 0]


def vocabulary_layer(model: PreTrainedModel) -> nn.Linear:
    """The layer that makes logits of hidden states."""
    layer: nn.Linear = model.get_output_embeddings()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    return layer
