"""One forward of a decoder over the tokens of its rows: as one line, or as padded batches.

Models that ask transformers which attention to call run all tokens as one line, and `attend_rows` tells rows apart.
Those whose attention is in code of their own (Falcon, GPT-J, BLOOM, MPT) are given what their `generate` would give
them: a batch [rows, tokens] padded on the right, a mask, and a cache that says how many columns come before.
"""

import inspect
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from worker.engine.batch_layout import written
from worker.engine.cache.kv_cache import PaddedLayer, RowCache, RowLayer
from worker.engine.checkpoints.architecture import needs_equal_lengths
from worker.engine.layers.attention import CURRENT_METADATA, NAME, AttentionMetadata
from worker.engine.layers.lora import AdapterRows
from worker.engine.layers.packed import PrepackedLinear
from worker.engine.layers.recurrent import run_by_stretches

_TRANSFORMS = ("lm_head", "cls.predictions.transform", "generator_predictions")


class LineForward:
    """Runs all tokens as one line; every layer but attention treats them alike."""

    needs_equal_starts = False
    """Whether the tokens of a block must begin at the same column, where a row has several."""
    needs_equal_lengths = False
    """Whether rows that decode must do so, too."""
    layer_type: type[RowLayer] = RowLayer

    def __init__(self, model: PreTrainedModel, adapters: AdapterRows | None, max_length: int) -> None:
        text = model.config.get_text_config()
        self.max_length = max_length
        self.hidden_size: int = text.hidden_size
        self.device = model.device
        self.adapters = adapters
        self.cache = RowCache(text.num_hidden_layers, max_length, self.layer_type)
        self.is_recurrent = run_by_stretches(model, self.cache.states, adapters)
        """Whether rows carry a state, which a step changes: then a step that failed cannot be run again."""
        self.module = _decoder_of(model)
        self._transform = _transform_of(model)
        self._cache_name = _cache_name(self.module)

    def run(self, tokens: Tensor, positions: Tensor, metadata: AttentionMetadata) -> Tensor:
        """Last hidden states [tokens, d] of a line of tokens [tokens] at positions [tokens]."""
        CURRENT_METADATA.set(metadata)
        return self._decode(metadata, input_ids=tokens[None], position_ids=positions[None])[0]

    def _decode(self, metadata: AttentionMetadata, **inputs: Tensor) -> Tensor:
        self.cache.expect(metadata)
        hidden: Tensor = self.module(**inputs, use_cache=True, **{self._cache_name: self.cache}).last_hidden_state
        return hidden if self._transform is None else self._transform(hidden)


class PaddedForward(LineForward):
    """Runs each block of rows as a batch of its own, padded on the right."""

    needs_equal_starts = True
    layer_type = PaddedLayer

    def __init__(self, model: PreTrainedModel, adapters: AdapterRows | None, max_length: int) -> None:
        super().__init__(model, adapters, max_length)
        self.needs_equal_lengths = needs_equal_lengths(model.config)

    def run(self, tokens: Tensor, positions: Tensor, metadata: AttentionMetadata) -> Tensor:  # noqa: ARG002 (the blocks have them)
        """Last hidden states [tokens, d] of a line of tokens [tokens]."""
        parts = []
        for block in metadata.blocks:
            seen = block.visible(None)[:, 0, -1]  # [n, keys]: what the newest token of each row sees
            part = AttentionMetadata(*written([block], tokens.device), [block], metadata.windows)
            places = block.take(torch.arange(len(tokens), device=tokens.device))  # [n, T]
            with self.adapters.only(places.flatten()) if self.adapters else nullcontext():
                hidden = self._decode(
                    part, input_ids=tokens[places], position_ids=block.positions, attention_mask=seen.long()
                )
            parts.append(block.put(hidden))
        return torch.cat(parts)


def forward_of(model: PreTrainedModel, adapters: AdapterRows | None, max_length: int) -> LineForward:
    """The one that suits the model's attention."""
    attends_in_line = model.config._attn_implementation == NAME  # noqa: SLF001 (there is no public name)
    return (LineForward if attends_in_line else PaddedForward)(model, adapters, max_length)


def _decoder_of(model: PreTrainedModel) -> nn.Module:
    """What lies below the vocabulary head. Llama 4 gives itself when it is asked, ModernBERT its head."""
    decoder: nn.Module = model.get_decoder()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    if isinstance(decoder, nn.Linear | PrepackedLinear):
        return model.base_model
    return model.get_submodule("model") if decoder is model else decoder


def _cache_name(decoder: nn.Module) -> str:
    """What a decoder calls its cache: models without attention have a name of their own for it."""
    return "cache_params" if "cache_params" in inspect.signature(decoder.forward).parameters else "past_key_values"


def _transform_of(model: PreTrainedModel) -> nn.Module | None:
    """What BERT and its kind do between the decoder and the vocabulary head; None in most models."""
    modules = dict(model.named_modules())
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]  # transformers leaves it untyped
    found = [modules[name] for name in _TRANSFORMS if name in modules]
    return next((module for module in found if head not in module.modules()), None)
