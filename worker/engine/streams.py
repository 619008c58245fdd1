"""What a request means in logits: its distinct streams and their coefficients. Pure arithmetic, no tensors."""

from collections.abc import Mapping
from dataclasses import dataclass

from worker.engine.request import Request


@dataclass(frozen=True, slots=True)
class StreamWeights:
    """Which parameters a stream runs on: a model held by the engine, and an adapter stacked on it."""

    model: int
    adapter: int = 0
    """0 is the model without an adapter."""


@dataclass(frozen=True, slots=True)
class GuidedStream:
    """A stream of a request that must be run: `guided_streams` joins equal ones and leaves out those without effect."""

    weights: StreamWeights
    prompt: tuple[int, ...]
    coefficient: float
    """Of its log-probabilities in the score: `[it is the base stream] + strength * reward`."""
    reward: float
    """The coefficient of its log-probabilities in the token reward."""


def guided_streams(request: Request, weights: Mapping[str, StreamWeights]) -> tuple[GuidedStream, ...]:
    """The streams to run, the base stream first.

    Equal streams are one, their rewards summed. A stream that adds nothing to the score is not run: with
    strength 0, a budget of 0, or where all rewards cancel, only the base stream remains.
    """
    guides = bool(request.strength) and request.max_kl != 0
    rewards: dict[tuple[StreamWeights, tuple[int, ...]], float] = {}
    for stream in request.streams:
        key = (weights[stream.weights], stream.prompt)
        rewards[key] = rewards.get(key, 0.0) + (stream.reward if guides else 0.0)
    base, *others = rewards
    return (
        GuidedStream(*base, coefficient=1.0 + request.strength * rewards[base], reward=rewards[base]),
        *(
            GuidedStream(*key, coefficient=request.strength * rewards[key], reward=rewards[key])
            for key in others
            if rewards[key]
        ),
    )
