"""Several answers to one item: as many requests with a seed each, one outcome, and one fate."""

import uuid
from collections.abc import Callable, Sequence
from typing import cast

import pytest

from domain.attempts import Attempt, ClaimedItem, Outcome
from domain.preferences import Method
from domain.sampling import WHOLE_VOCABULARY, Sampling
from tests.builders import SAMPLING, a_description, preference
from tests.tiny_model import a_tokenizer
from worker.engine import Completion, Engine, Failure, FinishReason, GenerationDefaults, Request, Stream
from worker.model.card import Card
from worker.pipeline.answers import num_candidates
from worker.texts.decoder import TextDecoder
from worker.texts.formats import INSTRUCTION
from worker.texts.methods import BASE_GUIDE

End = Completion | Failure


class WrittenEngine:
    """Answers every request at once with what it is told to; remembers what it was asked and what was cancelled."""

    num_slots = 4
    vocab_size = 300
    max_length = 512

    def __init__(self, answer: Callable[[Request], End], defaults: GenerationDefaults) -> None:
        self.asked: list[Request] = []
        self.cancelled: list[int | str] = []
        self.generation_defaults = defaults
        self._answer = answer
        self._waiting: list[Request] = []

    def add(self, request: Request) -> None:
        self.asked.append(request)
        self._waiting.append(request)

    def cancel(self, request_id: int | str) -> None:
        self.cancelled.append(request_id)
        self._waiting = [request for request in self._waiting if request.request_id != request_id]

    def step(self) -> Sequence[End]:
        waiting, self._waiting = self._waiting, []
        return [self._answer(request) for request in reversed(waiting)]


def said(request: Request) -> End:
    """A text that tells the seed."""
    ids = tuple(a_tokenizer().encode(f"seed {request.seed}", add_special_tokens=False))
    return Completion(
        request.request_id, ids, FinishReason.LENGTH, 7, len(ids), reward=request.seed, rewards=None, kl=0.5
    )


def a_decoder(
    answer: Callable[[Request], End] = said, defaults: GenerationDefaults | None = None
) -> tuple[TextDecoder, WrittenEngine]:
    engine = WrittenEngine(answer, defaults or GenerationDefaults())
    return TextDecoder(
        cast("Engine", engine), a_tokenizer(), Card(format=INSTRUCTION), BASE_GUIDE, a_description()
    ), engine


def an_item(item_id: int = 1, **sampling: object) -> ClaimedItem:
    messages: list[dict[str, object]] = [{"role": "user", "content": "tea"}]
    body = preference("formal", method=Method.CONTRAST).body
    return ClaimedItem(item_id, uuid.UUID(int=0), 1, messages, body, {**SAMPLING, "temperature": 1.0, **sampling})


def outcomes(decoder: TextDecoder, *items: ClaimedItem) -> list[Outcome]:
    assert [decoder.add(item) for item in items] == [None] * len(items)
    ended: list[Outcome] = []
    while decoder.has_work:
        ended += decoder.step()
    return ended


def test_the_answers_have_the_seeds_from_the_items_own_on_and_stand_in_that_order() -> None:
    decoder, engine = a_decoder()

    (outcome,) = outcomes(decoder, an_item(n=3, seed=5))

    assert [request.seed for request in engine.asked] == [5, 6, 7]
    assert outcome.choices is not None
    assert [choice["text"] for choice in outcome.choices] == ["seed 5", "seed 6", "seed 7"]
    assert outcome.choices[1] == {
        "text": "seed 6",
        "finish_reason": "length",
        "num_completion_tokens": 6,
        "reward": 6,
        "kl": 0.5,
    }


def test_the_first_answer_is_the_items_text_and_the_tokens_of_all_are_counted() -> None:
    decoder, _ = a_decoder()

    (outcome,) = outcomes(decoder, an_item(n=3, seed=5))

    assert (outcome.text, outcome.reward, outcome.kl) == ("seed 5", 5, 0.5)
    assert (outcome.num_prompt_tokens, outcome.num_completion_tokens) == (7, 18)


def test_one_answer_is_the_same_as_ever_and_has_no_choices() -> None:
    decoder, engine = a_decoder()

    (outcome,) = outcomes(decoder, an_item(seed=5))

    assert len(engine.asked) == 1
    assert (outcome.text, outcome.choices) == ("seed 5", None)


def test_greedy_answers_are_one_text_that_is_decoded_once() -> None:
    decoder, engine = a_decoder()

    (outcome,) = outcomes(decoder, an_item(n=3, seed=5, temperature=0.0))

    assert len(engine.asked) == 1
    assert outcome.choices is not None
    assert [choice["text"] for choice in outcome.choices] == ["seed 5"] * 3
    assert outcome.num_completion_tokens == 6


def test_an_answer_that_fails_fails_its_item_once_and_no_other() -> None:
    def answer(request: Request) -> End:
        return Failure(request.request_id, "non_finite_logits", "No.") if request.seed == 6 else said(request)

    decoder, _ = a_decoder(answer)

    ended = outcomes(decoder, an_item(1, n=4, seed=5), an_item(2, n=2, seed=50))

    assert sorted((outcome.item_id, outcome.error_code) for outcome in ended) == [(1, "non_finite_logits"), (2, None)]


def test_a_cancelled_item_takes_all_its_answers_with_it() -> None:
    decoder, engine = a_decoder()
    decoder.add(an_item(1, n=3))
    decoder.add(an_item(2))

    decoder.cancel(Attempt(1, 1))

    assert len(engine.cancelled) == 3
    assert [outcome.item_id for outcome in decoder.step()] == [2]
    assert not decoder.has_work


def test_every_setting_of_an_item_reaches_the_engine() -> None:
    decoder, engine = a_decoder()

    outcomes(
        decoder,
        an_item(
            k=7,
            top_p=0.9,
            min_p=0.1,
            repetition_penalty=1.2,
            presence_penalty=0.3,
            frequency_penalty=0.4,
            min_tokens=2,
            logit_bias=[[3, -100.0]],
            stop=["x"],
            rewards=True,
        ),
    )

    (request,) = engine.asked
    assert (request.k, request.top_p, request.min_p, request.repetition_penalty) == (7, 0.9, 0.1, 1.2)
    assert (request.presence_penalty, request.frequency_penalty, request.min_tokens) == (0.3, 0.4, 2)
    assert (request.logit_bias, request.return_rewards) == (((3, -100.0),), True)
    assert request.stop is not None


def test_what_an_item_leaves_open_is_what_the_models_generation_config_says() -> None:
    of_model = GenerationDefaults(do_sample=True, temperature=0.7, top_p=0.8, min_p=0.05, repetition_penalty=1.1)
    decoder, engine = a_decoder(defaults=of_model)
    older = {name: value for name, value in an_item().sampling.items() if name != "top_p"}

    outcomes(decoder, ClaimedItem(1, uuid.UUID(int=0), 1, an_item().messages, an_item().preference, older))
    outcomes(decoder, an_item(2, top_p=1.0, min_p=0.0, repetition_penalty=1.0))

    left_open, stated = engine.asked
    assert (left_open.top_p, left_open.min_p, left_open.repetition_penalty) == (0.8, 0.05, 1.1)
    assert (stated.top_p, stated.min_p, stated.repetition_penalty) == (1.0, 0.0, 1.0)
    assert left_open.temperature == 1.0, "the temperature is the item's, 0 if unsaid"


@pytest.mark.parametrize(
    ("k", "num_streams", "top_k", "expected"),
    [
        (None, 1, None, None),
        (None, 2, None, 10),
        (None, 1, 20, 20),
        (None, 2, 20, 10),
        (5, 1, 20, 5),
        (1000, 2, None, 300),
        (WHOLE_VOCABULARY, 1, 20, None),
        (WHOLE_VOCABULARY, 2, 20, 10),
    ],
)
def test_unguided_items_choose_from_the_whole_vocabulary_unless_somebody_says_otherwise(
    k: int | None, num_streams: int, top_k: int | None, expected: int | None
) -> None:
    streams = [Stream("base", (number,)) for number in range(num_streams)]

    assert num_candidates(Sampling(k=k), streams, GenerationDefaults(top_k=top_k), 300) == expected
