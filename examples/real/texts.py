"""The texts that pairs are chosen from: several per prompt and principle, written by the base model itself.

Three origins: the plain prompt, the principle shown, and the principle shown and contrasted with the plain prompt.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from examples.real.principles import PRINCIPLES, JudgedPrinciple
from worker.engine import Completion, Failure, Request, Stream
from worker.texts.formats import Message

Show = Callable[[str, Sequence[str]], list[Message]]
"""The conversation that shows a prompt with its principles."""
Encode = Callable[[Sequence[Message]], tuple[int, ...]]
Decode = Callable[[Iterable[Request]], Iterable[Completion | Failure]]


class Origin(StrEnum):
    """How a text was made."""

    PLAIN = "plain"
    PROMPTED = "prompted"
    STEERED = "steered"


@dataclass(frozen=True)
class Context:
    """A prompt and what is asked of its text; no principle is asked of a plain one."""

    prompt: str
    principles: tuple[JudgedPrinciple, ...] = ()
    wordings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A text, and whether the model ended it itself."""

    context: Context
    origin: Origin
    text: str
    ended: bool


@dataclass(frozen=True)
class Sampling:
    """How many texts of each origin, and how they are drawn."""

    contexts_per_prompt: int = 6
    share_of_two: float = 0.2
    """Share of the contexts with two principles."""
    plain: int = 3
    prompted: int = 4
    strengths: tuple[float, ...] = (1.0, 1.5, 2.5)
    """One steered text for each."""
    temperature: float = 1.0
    steered_temperature: float = 0.8
    k: int = 50
    steered_k: int = 10
    max_tokens: int = 80


def contexts(prompts: Sequence[str], sampling: Sampling, seed: int, without: frozenset[str]) -> list[Context]:
    """For each prompt several principles, each in one of its wordings; those named in `without` are left out."""
    rng = random.Random(seed)
    known = [principle for principle in PRINCIPLES if principle.name not in without]
    found = []
    for prompt in prompts:
        order = rng.sample(known, min(2 * sampling.contexts_per_prompt, len(known)))
        for first, second in zip(order[::2], order[1::2], strict=False):
            asked = (first, second) if rng.random() < sampling.share_of_two else (first,)
            found.append(Context(prompt, asked, tuple(rng.choice(principle.wordings) for principle in asked)))
    return found


def write(
    asked: Sequence[Context],
    decode: Decode,
    *,
    show: Show,
    encode: Encode,
    text_of: Callable[[Sequence[int]], str],
    sampling: Sampling,
    seed: int,
) -> list[Candidate]:
    """Every candidate text of the contexts and of their prompts alone."""
    plain = [Context(prompt) for prompt in dict.fromkeys(context.prompt for context in asked)]
    makers = [
        (context, origin, request)
        for context in (*plain, *asked)
        for origin, request in _requests(context, show=show, encode=encode, sampling=sampling)
    ]
    numbered = [
        Request(number, streams, strength=strength, k=k, temperature=heat, seed=seed + number, max_tokens=most)
        for number, (_, _, (streams, strength, k, heat, most)) in enumerate(makers)
    ]
    candidates = []
    for outcome in decode(numbered):
        if isinstance(outcome, Completion):
            context, origin, _ = makers[int(outcome.request_id)]
            ended = outcome.finish_reason == "stop"
            candidates.append((int(outcome.request_id), Candidate(context, origin, text_of(outcome.token_ids), ended)))
    return [candidate for _, candidate in sorted(candidates, key=lambda entry: entry[0])]


_Made = tuple[tuple[Stream, ...], float, int, float, int]


def _requests(context: Context, *, show: Show, encode: Encode, sampling: Sampling) -> list[tuple[Origin, _Made]]:
    plain = encode([Message(role="user", content=context.prompt)])
    drawn = (0.0, sampling.k, sampling.temperature, sampling.max_tokens)
    if not context.principles:
        return [(Origin.PLAIN, ((Stream("base", plain),), *drawn))] * sampling.plain
    shown = encode(show(context.prompt, context.wordings))
    contrast = (Stream("base", shown, reward=1.0), Stream("base", plain, reward=-1.0))
    steered = (sampling.steered_k, sampling.steered_temperature, sampling.max_tokens)
    return [(Origin.PROMPTED, ((Stream("base", shown),), *drawn))] * sampling.prompted + [
        (Origin.STEERED, (contrast, strength, *steered)) for strength in sampling.strengths
    ]
