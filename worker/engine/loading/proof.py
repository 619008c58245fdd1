"""The proof at load: the engine's logits against those of the model's own forward, uncached and one text at a time.

It finds what no configuration tells: positions that a model derives from a padding mask, windows that its layers do
not pass on, an adapter that is not applied as PEFT applies it, layers whose shared prefixes cannot be read in place. It
reads ordinary tokens, because control tokens that a model has hardly ever seen can have logits that are rounding and
nothing else.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from worker.engine.cache.prefixes import PrefixKey
from worker.engine.checkpoints.architecture import window
from worker.engine.errors import OTHER_ARCHITECTURE, first_line
from worker.engine.layers.attention import NAME, SharedPrefix
from worker.engine.layers.lora import MERGE_IT
from worker.engine.rows import PromptChunk
from worker.engine.runner import Runner
from worker.engine.streams import StreamWeights

# Relative error of logits that rounding explains: in float32 it is 5e-6 at most on tiny models of all architectures and
# 1e-5 on real ones of 30 layers. A wrong position or mask gives errors near 1, a time step without its limit 4e-4.
TOLERANCE = {torch.float32: 2e-4, torch.bfloat16: 0.2, torch.float16: 0.05}
# Further off than that, a text read in two pieces differs from the same text read at once by more than rounding.
_STATE_TOLERANCE = 1e-5
_STATE_FACTOR = {torch.float32: 10, torch.bfloat16: 2, torch.float16: 2}
_LONG, MOST_PROVED, _SHORT = 7, 64, 2  # tokens
_ADAPTED = 5
_NUM_TEXTS = 3  # of each kind: one may be a text whose logits are rounding and nothing else
_NUM_STEPS = 2  # tokens that are decoded behind a text
_NUM_BEHIND_PREFIX = 2  # tokens that a text has behind what it shares
_NUM_COLUMNS = 64  # candidates whose logits are computed by themselves
_GOLDEN = 0.6180339887498949
_logger = logging.getLogger(__name__)


def ordinary_token_ids(size: int, special: Collection[int]) -> Iterator[int]:
    """Endlessly, ids below `size` that are not special, spread over all of them; any ids where all are special."""
    usable = size > len({token_id for token_id in special if 0 <= token_id < size})
    for number in count(1):
        token_id = int(number * _GOLDEN % 1 * size)
        if not usable or token_id not in special:
            yield token_id


def special_ids_of(config: PreTrainedConfig) -> frozenset[int]:
    """Every id that a configuration gives a name to."""
    stated: set[int] = set()
    for name, value in config.get_text_config().to_dict().items():
        if name.endswith(("token_id", "token_ids")):
            ids = value if isinstance(value, list) else [value]
            stated.update(token_id for token_id in ids if isinstance(token_id, int))
    return frozenset(stated)


@dataclass(frozen=True, slots=True)
class _Text:
    """What a row reads, then decodes token by token, and the logits that it shall have."""

    adapter: int
    prompt: tuple[int, ...]
    continuation: tuple[int, ...]
    expected: Tensor
    """[1 + steps, V], float32: behind the prompt, and behind each token of the continuation."""


@dataclass(slots=True)
class Proof:
    """Texts, and what a model's own forward makes of them: collected first, compared once the engine can run them."""

    token_ids: Iterator[int]
    """Ordinary ones."""
    max_length: int
    """The longest text that may be run."""
    _texts: list[_Text] = field(default_factory=list)
    """Kind by kind: texts of one kind are of one length and use one adapter."""
    _failure: str | None = None

    def expect(self, model: PreTrainedModel, adapter: int = 0) -> None:
        """Note the logits of a model as it stands; with its adapters (by number) while each is the active one."""
        hidden_from = window(model.config)
        long = _LONG if hidden_from is None else max(_LONG, min(hidden_from + 3, MOST_PROVED))
        num_steps = min(_NUM_STEPS, max(0, self.max_length - 1))
        for length in (_ADAPTED,) if adapter else (long, _SHORT):
            num_read = max(1, min(length, self.max_length - num_steps))
            for _ in range(_NUM_TEXTS):
                token_ids = tuple(islice(self.token_ids, num_read + num_steps))
                try:
                    expected = _own_logits(model, token_ids)[-1 - num_steps :]
                except Exception as failure:
                    _logger.info("The model's own forward pass fails.", exc_info=failure)
                    self._failure = "its own forward pass fails in transformers, the engine left aside: try it there"
                    return
                self._texts.append(_Text(adapter, token_ids[:num_read], token_ids[num_read:], expected))

    def why_not_exact(self, model: PreTrainedModel, runner: Runner) -> str | None:
        """What is wrong with the logits of this runner, if anything is."""
        if self._failure is not None:
            return self._failure
        if not any(text.expected.isfinite().all() for text in self._texts):
            dtype = str(model.dtype).removeprefix("torch.")
            return f"its own logits are not finite in {dtype}; try another dtype"
        try:
            error = self._error(runner, {})
        except Exception as failure:  # noqa: BLE001 (whatever a foreign architecture raises, it cannot be decoded here)
            return self._in_words(failure)
        _clear(runner)
        if runner.is_recurrent and error <= TOLERANCE[model.dtype]:
            error = self._error_behind_a_state(runner, error, model.dtype)
        if not error <= TOLERANCE[model.dtype]:  # an error that is no number is none to tolerate
            what = (
                f"its cached logits differ from its uncached ones by {error:.1%}, so it would not write its own tokens"
            )
            return f"{what}: {self._advice}"
        hidden_from = window(model.config)
        if hidden_from is not None and hidden_from < runner.max_length and hidden_from not in runner.windows:
            return f"its layers do not pass on their window of {hidden_from} tokens; a max_length of at most that works"
        runner.read_in_place(None if self._prefixes_can_be_read_in_place(model, runner) else False)
        return None

    def _in_words(self, failure: Exception) -> str:
        """A layer of this engine says what it cannot do; any other code does not know that there are several texts."""
        if isinstance(failure, NotImplementedError):
            return first_line(failure)
        _logger.info("The model's forward pass fails on rows of a cache.", exc_info=failure)
        return f"its code does not run on a cache that holds several texts: {self._advice}"

    @property
    def _advice(self) -> str:
        return (
            f"leave its adapters away, or {MERGE_IT}"
            if any(text.adapter for text in self._texts)
            else OTHER_ARCHITECTURE
        )

    def _error_behind_a_state(self, runner: Runner, plain: float, dtype: torch.dtype) -> float:
        """The same for prompts that are read in two pieces; several tokens behind a state are read one by one at need.

        `plain` is the error of prompts read at once: what exceeds it is a state that was not taken up.
        """
        runner.read_in_place(False)
        error = self._error(runner, _read_prefixes(runner, self._texts))
        _clear(runner)
        if error <= _STATE_TOLERANCE + _STATE_FACTOR[dtype] * plain and self._states_are_read(runner):
            return error
        runner.go_on_by_token()
        error = self._error(runner, _read_prefixes(runner, self._texts))
        _clear(runner)
        return error

    def _states_are_read(self, runner: Runner) -> bool:
        """Whether several tokens take up a state of either kind: what is no number in it then shows behind them.

        A short text may hardly depend on its state, and a state that was left out then be less than rounding.
        """
        for is_conv in (False, True):
            prefixes = _read_prefixes(runner, self._texts)
            kept = [prefix.states for prefix in prefixes.values()]
            if any(key[2] == is_conv for states in kept for key in states):
                error = self._error(runner, {n: _poisoned(prefix, is_conv) for n, prefix in prefixes.items()})
                _clear(runner)
                if error != torch.inf:
                    return False
        return True

    def _prefixes_can_be_read_in_place(self, model: PreTrainedModel, runner: Runner) -> bool:
        """They cannot where layers share keys, keep latents in their place or change them behind the cache."""
        runner.read_in_place(True)
        try:
            error = self._error(runner, _read_prefixes(runner, self._texts))
        except Exception:  # noqa: BLE001 (whatever a foreign architecture raises: its prefixes are copied into rows)
            error = torch.inf
        _clear(runner)
        return error <= TOLERANCE[model.dtype]

    def _error(self, runner: Runner, prefixes: Mapping[int, SharedPrefix]) -> float:
        """The largest error of any kind of text at any step, the middle one of the texts of a kind.

        `prefixes` are what texts begin with, by number, as far as that was read before.
        """
        device = self._texts[0].expected.device
        pieces = []
        for row, text in enumerate(self._texts):
            prefix = prefixes.get(row)
            start = 0 if prefix is None else len(prefix)
            pieces.append(
                PromptChunk(("proof", row), text.adapter, text.prompt[start:], start, is_last=True, prefix=prefix)
            )
        rows = torch.arange(len(pieces), device=device)
        columns = torch.tensor([*islice(self.token_ids, _NUM_COLUMNS)], device=device).expand(len(pieces), -1)
        errors, texts = [], self._texts
        for step in range(len(self._texts[0].expected)):
            if step:
                runner.feed(torch.tensor([text.continuation[step - 1] for text in texts], device=device))
            hidden = runner.run([] if step else pieces)
            numbers = [key[1] for key in runner.decoding_keys]  # the runner puts them in an order of its own
            texts = [self._texts[number] for number in numbers]
            expected = torch.stack([text.expected[step] for text in texts])
            of_all = _errors(runner.logits(hidden, rows), expected)
            of_columns = _errors(runner.columns(hidden, rows, columns), expected.gather(1, columns))
            errors.append(torch.maximum(of_all, of_columns)[torch.tensor(numbers, device=device).argsort()])
        of_kinds = torch.stack(errors, dim=1).view(-1, _NUM_TEXTS, len(errors))  # [kinds, texts, steps]
        return float(of_kinds.median(dim=1).values.max())


def _read_prefixes(runner: Runner, texts: Sequence[_Text]) -> dict[int, SharedPrefix]:
    """What each text begins with, all but its last tokens, by the number of the text."""
    keys = {
        number: PrefixKey(StreamWeights(0, text.adapter), text.prompt[:-_NUM_BEHIND_PREFIX])
        for number, text in enumerate(texts)
        if len(text.prompt) > _NUM_BEHIND_PREFIX
    }
    runner.run([PromptChunk((key, 0), key.weights.adapter, key.token_ids, 0, is_last=False) for key in keys.values()])
    return {number: runner.take_prefix(key) for number, key in keys.items()}


def _poisoned(prefix: SharedPrefix, is_conv: bool) -> SharedPrefix:  # noqa: FBT001 (a part of a state's key)
    """The prefix with NaN in its states of one kind."""
    poison = {
        key: torch.full_like(state, torch.nan) if key[2] == is_conv else state for key, state in prefix.states.items()
    }
    return replace(prefix, states=poison)


def _clear(runner: Runner) -> None:
    runner.release([row.key[0] for row in runner.table.rows], scrub=True)
    runner.shrink()


@torch.inference_mode()
def _own_logits(model: PreTrainedModel, token_ids: Sequence[int]) -> Tensor:
    """[tokens, V], float32: as whoever does not know the engine computes them."""
    implementation = model.config._attn_implementation  # noqa: SLF001 (there is no public name)
    if implementation == NAME:
        model.set_attn_implementation("eager")
    logits: Tensor = model(input_ids=torch.tensor([token_ids], device=model.device), use_cache=False).logits
    model.set_attn_implementation(implementation)
    return logits[0].float()


def _errors(logits: Tensor, expected: Tensor) -> Tensor:
    """[n], the relative distance of logits [n, V]; what is added to all of them changes no choice and counts nothing.

    Infinite where either is not a number, so that it is no small error.
    """
    logits = logits.float() - logits.float().mean(1, keepdim=True)
    expected = expected - expected.mean(1, keepdim=True)
    errors: Tensor = (logits - expected).norm(dim=1) / expected.norm(dim=1)
    return errors.nan_to_num(nan=torch.inf)
