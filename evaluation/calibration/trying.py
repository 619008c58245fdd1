"""Writes texts under a setting and measures them with the models themselves. Holds engines; decides nothing.

The log-odds of a principle are held against some other principles, all shown in the same format: what the wording of a
format adds to every prompt cancels, and only what is the principle's own counts.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from evaluation.calibration.choice import Trial
from evaluation.calibration.material import Material
from evaluation.calibration.settings import Setting
from evaluation.likelihoods import Question, log_likelihoods, log_odds
from evaluation.texts import echoes, names, repetition, words
from evaluation.writing import NotWrittenError
from worker.engine import Completion, Engine, Request, load_engine, local_folder
from worker.texts.formats import INSTRUCTION, Message, with_principles
from worker.texts.methods import streams_of
from worker.texts.prompts import encode

NUM_RIVALS = 3
"""Other principles that a text is held against."""
NUM_CANDIDATES = 10


@dataclass(frozen=True, slots=True)
class Reader:
    """A model and its tokenizer, as what reads texts."""

    engine: Engine
    tokenizer: PreTrainedTokenizerBase

    @classmethod
    def load(cls, base: str, policy: str | None = None, *, device: str = "auto", dtype: str = "auto") -> "Reader":
        """Raises a ModelError that says what to do."""
        return cls(
            load_engine(base, policy, device=device, dtype=dtype), AutoTokenizer.from_pretrained(local_folder(base))
        )

    def prompt(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Token ids of a conversation; raises PromptError."""
        return encode(self.tokenizer, messages)

    def ids(self, text: str) -> tuple[int, ...]:
        """Token ids of a text, what spells a control token staying text."""
        return tuple(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def surprise(self, asked: Sequence[tuple[Sequence[Message], str]]) -> float:
        """-log p per token of texts, each after its conversation."""
        rows = [(self.prompt(messages), self.ids(text)) for messages, text in asked]
        num_tokens = sum(len(text) for _, text in rows)
        return -math.fsum(log_likelihoods(self.engine, rows)) / max(1, num_tokens)


@dataclass(frozen=True, slots=True)
class Written:
    """One text that was written under a setting, for the prompt and wish of these indices."""

    prompt: int
    wish: int
    text: str
    completion: Completion


class Trying:
    """Writes and measures the texts of one model under one setting after the other."""

    def __init__(self, model: Reader, material: Material, max_tokens: int, other: Reader | None = None) -> None:
        self._model = model
        self._material = material
        self._max_tokens = max_tokens
        self._other = other

    def try_out(self, setting: Setting) -> tuple[Trial, list[Written]]:
        """Write a text for every task, and measure them."""
        written = self._write(setting)
        readable = [one for one in written if words(one.text)]
        return self._trial(setting, written, readable), written

    def _write(self, setting: Setting) -> list[Written]:
        requests = [self._request(setting, number, *task) for number, task in enumerate(self._material.tasks)]
        completions: dict[int, Completion] = {}
        for outcome in self._model.engine.generate(requests):
            if not isinstance(outcome, Completion):
                raise NotWrittenError(outcome.message)
            completions[int(outcome.request_id)] = outcome
        decode = partial(self._model.tokenizer.decode, skip_special_tokens=True)
        return [
            Written(prompt, wish, str(decode(list(completions[number].token_ids))), completions[number])
            for number, (prompt, wish) in enumerate(self._material.tasks)
        ]

    def _request(self, setting: Setting, number: int, prompt: int, wish: int) -> Request:
        preference = setting.preference(self._material.wishes[wish].principle)
        return Request(
            number,
            streams_of(preference, self._asked(prompt), self._model.prompt, setting.format),
            strength=preference.strength,
            max_kl=preference.max_kl,
            k=min(NUM_CANDIDATES, self._model.engine.vocab_size),
            max_tokens=self._max_tokens,
        )

    def _trial(self, setting: Setting, written: Sequence[Written], readable: Sequence[Written]) -> Trial:
        log_odds, error = self._log_odds(readable)
        checks = [check(one.text) for one in written if (check := self._material.wishes[one.wish].check) is not None]
        guided = [one.completion for one in written if one.completion.kl is not None]
        num_tokens = sum(completion.num_completion_tokens for completion in guided)
        return Trial(
            setting=setting,
            num_texts=len(written),
            log_odds=log_odds,
            log_odds_error=error,
            reward=sum(completion.reward or 0.0 for completion in guided) / num_tokens if guided else None,
            kl=_mean([completion.kl or 0.0 for completion in guided]) if guided else None,
            surprise=self._surprise(self._model, readable),
            surprise_elsewhere=None if self._other is None else self._surprise(self._other, readable),
            repetition=_mean([repetition(one.text) for one in written]),
            leaks=_mean([self._leaks(setting, one) for one in written]),
            naming=_mean([self._names(one) for one in written]),
            echoes=_mean([echoes(one.text, self._material.prompts[one.prompt]) for one in written]),
            num_words=_mean([len(words(one.text)) for one in written]),
            satisfied=_mean(checks) if checks else None,
        )

    def _log_odds(self, texts: Sequence[Written]) -> tuple[float, float]:
        """The mean over the texts, and its standard error over the prompts."""
        by_prompt: dict[int, list[float]] = {}
        for one, odds in zip(texts, log_odds(self._model.engine, list(map(self._question, texts))), strict=True):
            by_prompt.setdefault(one.prompt, []).append(odds)
        means = [_mean(values) for values in by_prompt.values()]
        error = statistics.stdev(means) / math.sqrt(len(means)) if len(means) > 1 else 0.0
        return _mean(means), error

    def _question(self, one: Written) -> Question:
        """The text's principle, held against its rivals."""
        principles = (self._material.wishes[one.wish].principle, *self._material.rivals(one.wish, NUM_RIVALS))
        told, *rivals = (self._model.prompt(self._shown(one.prompt, principle)) for principle in principles)
        return Question(self._model.ids(one.text), told, tuple(rivals))

    def _surprise(self, reader: Reader, texts: Sequence[Written]) -> float:
        """-log p per token of the texts after the plain prompt."""
        return reader.surprise([(self._asked(one.prompt), one.text) for one in texts])

    def _leaks(self, setting: Setting, one: Written) -> bool:
        """Whether the text repeats words that were added to what the client wrote."""
        plain = [message["content"] for message in self._asked(one.prompt)]
        principle = self._material.wishes[one.wish].principle
        shown = with_principles(self._asked(one.prompt), [principle], setting.format)
        return any(echoes(one.text, message["content"], plain) for message in shown)

    def _names(self, one: Written) -> bool:
        return names(one.text, self._material.wishes[one.wish].principle, [self._material.prompts[one.prompt]])

    def _asked(self, prompt: int) -> list[Message]:
        return [Message(role="user", content=self._material.prompts[prompt])]

    def _shown(self, prompt: int, principle: str) -> list[Message]:
        return with_principles(self._asked(prompt), [principle], INSTRUCTION)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
