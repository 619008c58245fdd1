"""The engine on a real instruction-tuned model: what it promises of tiny random ones, and what only text can show."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from db.preferences import EffectivePreference, Method, WeightedPrinciple
from worker.engine import Completion, Engine, FinishReason, Request, load_engine
from worker.methods import streams_of
from worker.prompts import Message, encode
from worker.stops import StopTexts

MAX_TOKENS = 24
PROMPTS = (
    "What is the capital of France?",
    "Write a short invitation to a garden party.",
    "Explain in two sentences why the sky is blue.",
)


@pytest.fixture(scope="module")
def tokenizer(smollm2: Path) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(smollm2)
    return tokenizer


@pytest.fixture(scope="module")
def engine(smollm2: Path) -> Engine:
    return load_engine(str(smollm2), device="cpu", dtype="float32", num_slots=4, max_length=512)


def asking(prompt: str) -> list[Message]:
    return [Message(role="user", content=prompt)]


def preferring(method: Method, strength: float, *principles: str) -> EffectivePreference:
    return EffectivePreference(method, strength, tuple(WeightedPrinciple(text, 1.0) for text in principles))


def decode(engine: Engine, requests: Sequence[Request]) -> list[Completion]:
    """The completions in the order of the requests, whose ids count them from 0."""
    completions = [outcome for outcome in engine.generate(requests) if isinstance(outcome, Completion)]
    assert len(completions) == len(requests)
    return sorted(completions, key=lambda completion: int(completion.request_id))


def test_strength_zero_is_what_generate_writes(
    smollm2: Path, engine: Engine, tokenizer: PreTrainedTokenizerBase
) -> None:
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    prompts = [encode(tokenizer, asking(prompt)) for prompt in PROMPTS]
    expected = [
        model.generate(torch.tensor([prompt]), max_new_tokens=MAX_TOKENS, do_sample=False)[0, len(prompt) :].tolist()
        for prompt in prompts
    ]

    preference = preferring(Method.NONE, 0.0)
    requests = [
        Request(number, streams_of(preference, asking(prompt), lambda messages: encode(tokenizer, messages)))
        for number, prompt in enumerate(PROMPTS)
    ]
    completions = decode(engine, [_short(request) for request in requests])

    end = tokenizer.eos_token_id
    assert [list(completion.token_ids) for completion in completions] == [
        [token for token in tokens if token != end] for tokens in expected
    ]


def _short(request: Request) -> Request:
    return Request(request.request_id, request.streams, request.strength, max_tokens=MAX_TOKENS)


def test_a_stop_text_ends_a_real_text(engine: Engine, tokenizer: PreTrainedTokenizerBase) -> None:
    prompt = encode(tokenizer, asking(PROMPTS[0]))
    preference = preferring(Method.NONE, 0.0)
    streams = streams_of(preference, asking(PROMPTS[0]), lambda messages: encode(tokenizer, messages))

    (completion,) = decode(engine, [Request(0, streams, stop=StopTexts(tokenizer, ("Paris",)))])

    assert completion.num_prompt_tokens == len(prompt)
    assert completion.finish_reason is FinishReason.STOP
    text = tokenizer.decode(list(completion.token_ids))
    assert "capital of France" in text
    assert not text.rstrip().endswith("Paris.")
