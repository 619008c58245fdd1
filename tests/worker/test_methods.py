"""Each method is the weighted sum of streams that DESIGN's table says it is."""

from collections.abc import Sequence

import pytest

from db.preferences import EffectivePreference, Method, Principle, effective_preference
from worker.engine import Stream
from worker.formats import PAD, Message
from worker.methods import streams_of

PROMPT = [Message(role="user", content="tea")]
PLAIN, BOTH, FORMAL, PLAYFUL = (1,), (2,), (3,), (4,)


def encode(messages: Sequence[Message]) -> tuple[int, ...]:
    """Prompt ids that tell which principles were in the prompt."""
    content = messages[-1]["content"]
    return {(False, False): PLAIN, (True, True): BOTH, (True, False): FORMAL, (False, True): PLAYFUL}[
        "formal" in content, "playful" in content
    ]


def coefficients(preference: EffectivePreference) -> dict[tuple[str, tuple[int, ...]], float]:
    """Each stream's coefficient in the sum of logits, as the engine computes it."""
    streams: tuple[Stream, ...] = streams_of(preference, PROMPT, encode, PAD)
    return {
        (stream.weights, stream.prompt): (index == 0) + preference.strength * stream.reward
        for index, stream in enumerate(streams)
    }


def a_preference(method: Method) -> EffectivePreference:
    return effective_preference(method, 0.5, [Principle("formal", 1.0), Principle("playful", 3.0)])


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (Method.NONE, {("base", PLAIN): 1.0}),
        (Method.PROMPT, {("base", BOTH): 1.0}),
        (Method.PAD, {("base", BOTH): 0.5, ("policy", BOTH): 0.5}),
        (Method.MIXTURE, {("base", PLAIN): -1.0, ("policy", FORMAL): 0.5, ("policy", PLAYFUL): 1.5}),
        (Method.CONTRAST, {("base", BOTH): 1.5, ("base", PLAIN): -0.5}),
    ],
)
def test_the_streams_and_coefficients_of_a_method(
    method: Method, expected: dict[tuple[str, tuple[int, ...]], float]
) -> None:
    assert coefficients(a_preference(method)) == expected


@pytest.mark.parametrize("method", list(Method))
def test_without_principles_every_method_is_the_plain_base(method: Method) -> None:
    assert coefficients(effective_preference(method, 1.0, [])) == {("base", PLAIN): 1.0}
