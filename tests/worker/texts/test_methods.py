"""Each method is the weighted sum of streams that DESIGN's table says it is."""

from collections.abc import Sequence

import pytest

from domain.preferences import EffectivePreference, Method, Principle, effective_preference
from worker.engine import Stream
from worker.texts.formats import EXAMPLE_REQUEST, INSTRUCTION, PAD, SYSTEM, Format, Message
from worker.texts.methods import BASE_GUIDE, MODEL_GUIDE, POLICY_GUIDE, REFERENCE_GUIDE, Guide, streams_of

PROMPT = [Message(role="user", content="tea")]
PLAIN, BOTH, FORMAL, PLAYFUL = (1,), (2,), (3,), (4,)


def encode(messages: Sequence[Message]) -> tuple[int, ...]:
    """Prompt ids that tell which principles were in the prompt."""
    content = messages[-1]["content"]
    return {(False, False): PLAIN, (True, True): BOTH, (True, False): FORMAL, (False, True): PLAYFUL}[
        "formal" in content, "playful" in content
    ]


def coefficients(
    preference: EffectivePreference, guide: Guide = POLICY_GUIDE
) -> dict[tuple[str, tuple[int, ...]], float]:
    """Each stream's coefficient in the sum of logits, as the engine computes it."""
    streams: tuple[Stream, ...] = streams_of(preference, PROMPT, encode, PAD, guide)
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


@pytest.mark.parametrize(
    ("guide", "expected"),
    [
        (BASE_GUIDE, {("base", PLAIN): -1.0, ("base", FORMAL): 0.5, ("base", PLAYFUL): 1.5}),
        (
            MODEL_GUIDE,
            {
                ("base", PLAIN): 1.0,
                ("policy", FORMAL): 0.5,
                ("policy", PLAYFUL): 1.5,
                ("policy", PLAIN): -2.0,
            },
        ),
    ],
)
def test_a_mixture_without_a_policy_weighs_the_log_ratios_of_its_guide(
    guide: Guide, expected: dict[tuple[str, tuple[int, ...]], float]
) -> None:
    assert coefficients(a_preference(Method.MIXTURE), guide) == expected


def test_a_reference_of_its_own_takes_the_bases_place_in_the_reward() -> None:
    assert coefficients(a_preference(Method.PAD), REFERENCE_GUIDE) == {
        ("base", BOTH): 1.0,
        ("policy", BOTH): 0.5,
        ("reference", BOTH): -0.5,
    }


@pytest.mark.parametrize("format", [SYSTEM, INSTRUCTION])
def test_contrast_moves_away_from_the_same_words_with_an_ordinary_principle(format: Format) -> None:
    # Away from the plain prompt, guidance favoured "Style:" as much as what stands behind it: one text in ten said it.
    guided, plain = the_texts(
        effective_preference(Method.CONTRAST, 1.0, [Principle("formal")], examples=["one"]), format
    )

    assert plain == guided.replace("formal", "ordinary").removeprefix(AN_EXAMPLE)
    assert guided.startswith(AN_EXAMPLE)


def test_with_examples_alone_contrast_moves_away_from_the_plain_prompt() -> None:
    guided, plain = the_texts(effective_preference(Method.CONTRAST, 1.0, [], examples=["one"]), SYSTEM)

    assert (guided, plain) == (AN_EXAMPLE + "tea", "tea")


AN_EXAMPLE = f"{EXAMPLE_REQUEST}|one|"


def the_texts(preference: EffectivePreference, format: Format) -> list[str]:
    """What the prompts of the streams say, turn by turn but for the system turn, which comes last."""
    prompts: list[str] = []

    def remember(messages: Sequence[Message]) -> tuple[int, ...]:
        prompts.append(
            "|".join(turn["content"] for turn in sorted(messages, key=lambda turn: turn["role"] == "system"))
        )
        return (len(prompts),)

    streams_of(preference, PROMPT, remember, format)
    return prompts


def test_examples_are_earlier_turns_of_every_prompt_but_the_one_that_contrast_moves_away_from() -> None:
    seen: list[list[str]] = []

    def remember(messages: Sequence[Message]) -> tuple[int, ...]:
        seen.append([message["role"] for message in messages])
        return (len(seen),)

    system = [Message(role="system", content="Be brief."), *PROMPT]
    given = effective_preference(Method.CONTRAST, 1.0, [Principle("formal")], examples=["one", "two"])
    streams_of(given, system, remember, PAD)

    assert seen == [["system", *["user", "assistant"] * 2, "user"], ["system", "user"]]


def test_examples_steer_without_principles() -> None:
    shown = {
        method: streams_of(effective_preference(method, 1.0, [], examples=["one"]), PROMPT, by_length, PAD)
        for method in Method
    }

    assert [stream.prompt for stream in shown[Method.CONTRAST]] == [(3,), (1,)]
    assert [stream.prompt for stream in shown[Method.PROMPT]] == [(3,)]
    assert [stream.prompt for stream in shown[Method.NONE]] == [(1,)]
    assert shown[Method.PAD] == shown[Method.MIXTURE] == shown[Method.PROMPT]


def by_length(messages: Sequence[Message]) -> tuple[int, ...]:
    return (len(messages),)
