"""The engine on a real instruction-tuned model: what it promises of tiny random ones, and what only text can show."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from db.preferences import EffectivePreference, Method
from worker.engine import Completion, Engine, FinishReason, Request, Stream, load_engine
from worker.formats import INSTRUCTION, Message
from worker.methods import streams_of
from worker.prompts import encode
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


def unguided(tokenizer: PreTrainedTokenizerBase, prompt: str) -> tuple[Stream, ...]:
    nothing = EffectivePreference(Method.NONE, 0.0, ())
    return streams_of(nothing, asking(prompt), lambda messages: encode(tokenizer, messages), INSTRUCTION)


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
    expected = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        generated = model.generate(  # type: ignore[misc] # transformers types `self` as a protocol
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=MAX_TOKENS, do_sample=False
        )
        expected.append(generated[0, len(prompt) :].tolist())

    completions = decode(
        engine,
        [Request(number, unguided(tokenizer, prompt), max_tokens=MAX_TOKENS) for number, prompt in enumerate(PROMPTS)],
    )

    end = tokenizer.eos_token_id
    assert [list(completion.token_ids) for completion in completions] == [
        [token for token in tokens if token != end] for tokens in expected
    ]


def test_a_stop_text_ends_a_real_text(engine: Engine, tokenizer: PreTrainedTokenizerBase) -> None:
    prompt = encode(tokenizer, asking(PROMPTS[0]))
    stop = StopTexts(tokenizer, ("Paris",))

    (completion,) = decode(engine, [Request(0, unguided(tokenizer, PROMPTS[0]), stop=stop)])

    assert completion.num_prompt_tokens == len(prompt)
    assert completion.finish_reason is FinishReason.STOP
    text = stop.text(completion.token_ids)
    assert "capital of France" in text
    assert "Paris" not in text
