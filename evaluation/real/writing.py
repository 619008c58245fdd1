"""From arms to texts on a real model, by the project's own engine. Every text is kept on disk as it comes, and reused.

What was written is found again by everything that decides it: models, streams and sampling.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from evaluation.conditions import Policy
from evaluation.likelihoods import Question, log_likelihoods, log_odds
from evaluation.real.arms import Arm
from evaluation.real.lines import whole_lines
from evaluation.real.suite import Asked
from evaluation.writing import NotWrittenError
from worker.engine import Completion, Engine, Request, Stream, load_engine
from worker.texts.formats import Message
from worker.texts.methods import Encode
from worker.texts.prompts import encode

_BATCH = 256


@dataclass(frozen=True)
class Written:
    """A text on disk, and what it cost."""

    key: str
    text: str
    token_ids: tuple[int, ...]
    num_tokens: int
    kl: float | None
    reward: float | None
    seconds: float
    """Its share of the wall time of the batch that it was written in."""


@dataclass(frozen=True)
class Text:
    """What an arm wrote when it was asked."""

    arm: Arm
    asked: Asked
    written: Written

    @property
    def text(self) -> str:
        """The text without control tokens."""
        return self.written.text


class Notebook:
    """Texts by key in a file of JSON lines. A line that an interrupted run cut off is written again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._texts: dict[str, Written] = {}
        for line in whole_lines(path):
            body = json.loads(line)
            written = Written(**(body | {"token_ids": tuple(body["token_ids"])}))
            self._texts[written.key] = written

    def get(self, key: str) -> Written | None:
        """The text of this key, if there is one."""
        return self._texts.get(key)

    def add(self, texts: Iterable[Written]) -> None:
        """Append texts to the file, and keep them by key."""
        with self._path.open("a", encoding="utf-8") as file:
            for written in texts:
                self._texts[written.key] = written
                file.write(json.dumps(asdict(written), ensure_ascii=False) + "\n")


class Studio:
    """A real model with what is loaded in the policy's place, and its notebook."""

    def __init__(
        self, model: Path, policy: Path | None, notebook: Notebook, max_tokens: int, reference: Path | None = None
    ) -> None:
        """Decode in float32, so that the texts are the same on every machine, but for rounding.

        `reference` is what the policy was trained on, where that has another tokenizer than the model.
        """
        self._paths = [None if path is None else str(path) for path in (policy, reference)]
        self._model = str(model)
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model)
        self.encode = partial(encode, self.tokenizer)
        self._encode_for_guide: Encode | None = None
        if reference is not None:
            self._encode_for_guide = partial(encode, AutoTokenizer.from_pretrained(reference))
        self._notebook = notebook
        self._max_tokens = max_tokens
        self.fingerprint = _fingerprint(model)
        of_guide = "" if policy is None else _fingerprint(policy)
        self._weights = f"{self.fingerprint} {of_guide}{'' if reference is None else ' ' + _fingerprint(reference)}"

    @cached_property
    def engine(self) -> Engine:
        """Loaded when something is asked of it that no notebook knows."""
        return load_engine(self._model, *self._paths, device="cpu", dtype="float32", max_length=1024)

    def write(self, arm: Arm, tasks: Sequence[Asked]) -> list[Text]:
        """One text for each task; those that are in the notebook are taken from there."""
        requests = [self._request(arm, asked, number) for number, asked in enumerate(tasks)]
        keys = [self._key(arm, request) for request in requests]
        missing = {key: request for key, request in zip(keys, requests, strict=True) if self._notebook.get(key) is None}
        for start in range(0, len(missing), _BATCH):
            self._decode(dict(list(missing.items())[start : start + _BATCH]))
        return [Text(arm, asked, self._known(key)) for asked, key in zip(tasks, keys, strict=True)]

    def log_odds(self, texts: Sequence[Text]) -> list[float]:
        """Log-odds, in nats, of each text under its principle against a prompt without one, by the model itself."""
        return log_odds(
            self.engine,
            [
                Question(
                    text.written.token_ids,
                    told=text.arm.streams(text.asked, self.encode)[0].prompt,
                    rivals=(self.encode(_plain(text.asked)),),
                )
                for text in texts
            ],
        )

    def surprises(self, texts: Sequence[Text]) -> list[float]:
        """-log p per token of texts, by whomever they were written, as this model's answers to their prompts."""
        prompts = [self.encode(_plain(text.asked)) for text in texts]
        completions = [
            tuple(self.tokenizer.encode(text.text or " ", add_special_tokens=False, split_special_tokens=True))
            for text in texts
        ]
        sums = log_likelihoods(self.engine, list(zip(prompts, completions, strict=True)))
        return [-total / len(completion) for total, completion in zip(sums, completions, strict=True)]

    def streams(self, arm: Arm, asked: Asked) -> tuple[Stream, ...]:
        """What the engine reads where the arm writes this."""
        return arm.streams(asked, self.encode, self._encode_for_guide)

    def _request(self, arm: Arm, asked: Asked, number: int) -> Request:
        return Request(
            number,
            self.streams(arm, asked),
            strength=arm.strength,
            max_kl=arm.max_kl,
            k=10 if arm.temperature == 0 else None,
            temperature=arm.temperature,
            top_p=arm.top_p,
            seed=arm.sample,
            max_tokens=self._max_tokens,
        )

    def _key(self, arm: Arm, request: Request) -> str:
        """A digest of everything that decides the text."""
        weights = self._weights if arm.policy is not Policy.NONE else self._weights.split(" ")[0]
        streams = [(stream.weights, stream.prompt, stream.reward) for stream in request.streams]
        guided = (request.strength, request.max_kl) if len(streams) > 1 else ()
        sampling = (request.k, request.temperature, request.top_p, request.seed, request.max_tokens)
        return hashlib.sha256(repr((weights, streams, guided, sampling)).encode()).hexdigest()[:20]

    def _known(self, key: str) -> Written:
        written = self._notebook.get(key)
        assert written is not None  # noqa: S101 # what was missing has just been written
        return written

    def _decode(self, missing: dict[str, Request]) -> None:
        start = time.monotonic()
        keys = {request.request_id: key for key, request in missing.items()}
        completions: list[Completion] = []
        for outcome in self.engine.generate(missing.values()):
            if not isinstance(outcome, Completion):
                raise NotWrittenError(outcome.message)
            completions.append(outcome)
        num_tokens = sum(completion.num_completion_tokens for completion in completions)
        seconds = (time.monotonic() - start) / num_tokens
        self._notebook.add(
            self._written(keys[completion.request_id], completion, seconds) for completion in completions
        )

    def _written(self, key: str, completion: Completion, seconds_per_token: float) -> Written:
        return Written(
            key,
            str(self.tokenizer.decode(list(completion.token_ids), skip_special_tokens=True)),
            completion.token_ids,
            completion.num_completion_tokens,
            completion.kl,
            completion.reward,
            seconds_per_token * completion.num_completion_tokens,
        )


def _plain(asked: Asked) -> list[Message]:
    return [Message(role="user", content=asked.prompt.prompt)]


def _fingerprint(folder: Path) -> str:
    """A digest of the weights' file: another one writes other texts."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
