import math
import pickle
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.engine.conftest import make_engine
from tests.engine.models import MAX_LENGTH, VOCAB_SIZE, Family
from tests.engine.requests import decode, pad, plain, prompt, token_ids
from worker.engine import Completion, Engine, Failure, Request, RequestError, Stream, load_engine

GOOD = Request("good", pad(prompt(1, 10)), strength=0.8, max_tokens=4)


def with_policy(stream: Stream) -> Request:
    return replace(GOOD, streams=(GOOD.streams[0], stream))


TOO_LONG = f"tokens with its template and principles; the model takes {MAX_LENGTH} for prompt and answer together"
REFUSED = [
    (replace(GOOD, streams=()), "no_streams", "at least one stream"),
    (with_policy(Stream("teacher", (1,))), "unknown_weights", "'teacher': this engine has base, policy, reference"),
    (with_policy(Stream("policy", ())), "empty_prompt", "stream 1 has no tokens"),
    (
        with_policy(Stream("policy", (1,) * 300)),
        "prompt_too_long",
        f"^The prompt has 300 {TOO_LONG}, so no max_tokens is low enough: shorten the prompt by at least 45.$",
    ),
    (
        replace(GOOD, max_tokens=MAX_LENGTH - 9),
        "prompt_too_long",
        f"^The prompt has 10 {TOO_LONG}: lower max_tokens from 247 to at most 246, or shorten the prompt.$",
    ),
    (with_policy(Stream("policy", (1,) * 255, reward=1.0)), "prompt_too_long", "from 4 to at most 1, or"),
    (with_policy(Stream("policy", (1, VOCAB_SIZE))), "token_out_of_range", "token id 97, outside 0 to 96"),
    (with_policy(Stream("policy", (1, -1))), "token_out_of_range", "token id -1"),
    (with_policy(Stream("policy", (1,), reward=math.inf)), "reward_not_finite", "stream 1 is inf"),
    (replace(GOOD, strength=math.nan), "strength_not_finite", "strength is nan"),
    (replace(GOOD, k=0), "k_out_of_range", "k is 0, outside 1 to 97"),
    (replace(GOOD, k=98), "k_out_of_range", "k is 98"),
    (replace(GOOD, temperature=-0.1), "temperature_out_of_range", "temperature is -0.1"),
    (replace(GOOD, temperature=math.inf), "temperature_out_of_range", "temperature is inf"),
    (replace(GOOD, top_p=0.0), "top_p_out_of_range", "top_p is 0.0"),
    (replace(GOOD, top_p=1.1), "top_p_out_of_range", "top_p is 1.1"),
    (replace(GOOD, top_p=math.nan), "top_p_out_of_range", "top_p is nan"),
    (replace(GOOD, max_tokens=0), "max_tokens_out_of_range", "max_tokens is 0"),
    (replace(GOOD, k=None), "k_required", "None, the whole vocabulary, where streams guide"),
    (replace(GOOD, max_kl=-0.1), "max_kl_out_of_range", "max_kl is -0.1, not a number of at least 0"),
    (replace(GOOD, max_kl=math.nan), "max_kl_out_of_range", "max_kl is nan"),
    (replace(GOOD, max_kl=math.inf), "max_kl_out_of_range", "max_kl is inf.*None sets no bound"),
    (replace(GOOD, min_p=1.0), "min_p_out_of_range", "min_p is 1.0, not at least 0 and below 1"),
    (replace(GOOD, min_p=-0.1), "min_p_out_of_range", "min_p is -0.1"),
    (replace(GOOD, min_p=math.nan), "min_p_out_of_range", "min_p is nan"),
    (replace(GOOD, min_tokens=-1), "min_tokens_out_of_range", "min_tokens is -1, outside 0 to max_tokens"),
    (replace(GOOD, min_tokens=5), "min_tokens_out_of_range", "min_tokens is 5, .* which is 4"),
    (replace(GOOD, repetition_penalty=0.0), "repetition_penalty_out_of_range", "penalty is 0.0, not a finite number"),
    (replace(GOOD, repetition_penalty=math.inf), "repetition_penalty_out_of_range", "penalty is inf"),
    (replace(GOOD, frequency_penalty=2.1), "frequency_penalty_out_of_range", "penalty is 2.1, outside -2 to 2"),
    (replace(GOOD, frequency_penalty=math.nan), "frequency_penalty_out_of_range", "penalty is nan"),
    (replace(GOOD, presence_penalty=-2.1), "presence_penalty_out_of_range", "penalty is -2.1, outside -2 to 2"),
    (replace(GOOD, logit_bias=((97, 1.0),)), "logit_bias_out_of_range", "names token id 97, outside 0 to 96"),
    (replace(GOOD, logit_bias=((-1, 1.0),)), "logit_bias_out_of_range", "names token id -1"),
    (replace(GOOD, logit_bias=((3, 101.0),)), "logit_bias_out_of_range", "token id 3 is 101.0, outside -100 to 100"),
    (replace(GOOD, logit_bias=((3, math.nan),)), "logit_bias_out_of_range", "token id 3 is nan"),
    (replace(GOOD, logit_bias=((3, 1.0), (3, 2.0))), "logit_bias_repeated", "names token id 3 more than once"),
]


@pytest.fixture(scope="module")
def llama_engine(families: dict[str, Family]) -> Engine:
    return make_engine(families["llama"])


@pytest.mark.parametrize(("request_", "code", "message"), REFUSED, ids=[f"{i} {r[1]}" for i, r in enumerate(REFUSED)])
def test_a_wrong_request_is_refused_in_words(llama_engine: Engine, request_: Request, code: str, message: str) -> None:
    with pytest.raises(RequestError, match=message) as refusal:
        llama_engine.add(request_)

    assert refusal.value.code == code
    assert llama_engine.num_waiting == 0


def test_an_id_that_is_in_use_is_refused_and_free_again_afterwards(engine: Engine) -> None:
    engine.add(GOOD)

    with pytest.raises(RequestError, match="id 'good' is waiting or being decoded") as refusal:
        engine.add(GOOD)

    assert refusal.value.code == "duplicate_request"
    assert [*decode(engine, [])] == ["good"]
    assert [*decode(engine, [GOOD])] == ["good"]


def test_refused_requests_are_failures_of_generate_and_hold_no_one_up(engine: Engine) -> None:
    refused = [replace(request, request_id=index) for index, (request, _, _) in enumerate(REFUSED)]
    accepted = [replace(GOOD, request_id=f"good {seed}", temperature=1.0, seed=seed) for seed in range(len(refused))]
    expected = token_ids(decode(engine, accepted))

    outcomes = list(engine.generate(request for pair in zip(refused, accepted, strict=True) for request in pair))

    failures = {outcome.request_id: outcome for outcome in outcomes if isinstance(outcome, Failure)}
    assert [failures[index].code for index in range(len(REFUSED))] == [code for _, code, _ in REFUSED]
    assert all(re.search(message, failures[index].message) for index, (_, _, message) in enumerate(REFUSED))
    completions = {outcome.request_id: outcome for outcome in outcomes if isinstance(outcome, Completion)}
    assert token_ids(completions) == expected


def test_generate_takes_requests_as_slots_become_free(families: dict[str, Family]) -> None:
    two_slots = load_engine(families["llama"].base, num_slots=2)
    taken = []

    def requests() -> Iterator[Request]:
        for index in range(1000):
            taken.append(index)
            yield Request(index, plain((1, 2, 3)), max_tokens=1)

    outcomes = two_slots.generate(requests())
    next(outcomes)
    outcomes.close()

    assert len(taken) < 10


def test_an_error_survives_the_way_to_another_process(engine: Engine) -> None:
    with pytest.raises(RequestError) as refusal:
        engine.add(replace(GOOD, k=0))

    copy = pickle.loads(pickle.dumps(refusal.value))  # noqa: S301 (its own pickle)

    assert (type(copy), str(copy), copy.code) == (type(refusal.value), str(refusal.value), refusal.value.code)
