"""From tasks to texts: the project's own engine, in batches. Knows one set of models; judges nothing."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from evaluation.conditions import EngineModel
from evaluation.methods import Arm
from evaluation.plan import EvaluatedModels
from evaluation.tasks import Task
from worker.engine import Completion, Engine, FinishReason, Request, Stream, load_engine
from worker.texts.formats import PAD, Format
from worker.texts.prompts import encode


class NotWrittenError(RuntimeError):
    """The engine refused a request of the suite: a prompt is too long for the model, say."""


@dataclass(frozen=True)
class Text:
    """What was written for a task. `token_ids` ends with the end token where the model wrote one."""

    task: Task
    text: str
    token_ids: tuple[int, ...]
    reward: float | None


@dataclass(frozen=True)
class Writing:
    """One method's texts, in the order of the tasks, and what writing them cost."""

    method: Arm
    texts: tuple[Text, ...]
    num_tokens: int
    """Decoded ones: what several tasks share is decoded once, and counted once."""
    seconds: float


class Writer:
    """Writes texts with an engine and its tokenizer, under one format."""

    def __init__(
        self, engine: Engine, tokenizer: PreTrainedTokenizerBase, max_tokens: int, format: Format = PAD
    ) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.format = format
        self.encode = partial(encode, tokenizer)

    @classmethod
    def load(cls, models: EvaluatedModels, *, device: str, max_tokens: int, format: Format = PAD) -> "Writer":
        """In float32 everywhere, so that the answers are the same on every machine, but for rounding."""
        engine = load_engine(models.base, models.policy, models.reference, device=device, dtype="float32")
        return cls(engine, AutoTokenizer.from_pretrained(models.base), max_tokens, format)

    @property
    def has_reference(self) -> bool:
        """Whether the reference is a model of its own."""
        return EngineModel.REFERENCE in self.engine.weights

    def streams(self, method: Arm, task: Task) -> tuple[Stream, ...]:
        """The streams that make the task's text."""
        return method.streams(task, self.encode, has_reference=self.has_reference, format=self.format)

    def write(self, tasks: Sequence[Task], method: Arm, *, sample: int = 0) -> Writing:
        """One text for each task; `sample` tells the samples of a task apart where tokens are drawn."""
        start = time.monotonic()
        requests: dict[object, Request] = {}
        places = []
        for index, task in enumerate(tasks):
            streams = self.streams(method, task)
            place = streams if method.temperature == 0 else (streams, index)
            places.append(place)
            requests.setdefault(place, self._request(len(requests), streams, method, seed=index + 1_000_003 * sample))
        completions = self.decode(requests.values())
        by_place = dict(zip(requests, completions, strict=True))
        texts = tuple(self._text(task, by_place[place]) for task, place in zip(tasks, places, strict=True))
        num_tokens = sum(completion.num_completion_tokens for completion in completions)
        return Writing(method, texts, num_tokens, time.monotonic() - start)

    def decode(self, requests: Iterable[Request]) -> list[Completion]:
        """The completions in the order of the requests, whose ids count them from 0."""
        completions: dict[int, Completion] = {}
        for outcome in self.engine.generate(requests):
            if not isinstance(outcome, Completion):
                raise NotWrittenError(outcome.message)
            completions[int(outcome.request_id)] = outcome
        return [completions[index] for index in range(len(completions))]

    def _request(self, number: int, streams: tuple[Stream, ...], method: Arm, seed: int) -> Request:
        return Request(
            number,
            streams,
            strength=method.strength,
            k=min(method.k, self.engine.vocab_size),
            temperature=method.temperature,
            seed=seed,
            max_tokens=self.max_tokens,
        )

    def _text(self, task: Task, completion: Completion) -> Text:
        text = str(self.tokenizer.decode(list(completion.token_ids), skip_special_tokens=True))
        ended = completion.finish_reason is FinishReason.STOP
        end = (min(self.engine.eos_token_ids),) if ended else ()
        return Text(task, text, completion.token_ids + end, completion.reward)


def is_adapter(path: str) -> bool:
    """Whether the folder holds an adapter rather than a whole model."""
    return (Path(path) / "adapter_config.json").is_file()
