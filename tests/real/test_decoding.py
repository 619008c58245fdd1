"""The engine on a real instruction-tuned model: what it promises of tiny random ones, and what only text can show."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from domain.preferences import EffectivePreference, Method, Principle
from evaluation.texts import echoes
from worker.engine import Completion, Engine, FinishReason, Request, Stream, load_engine
from worker.texts.formats import INSTRUCTION, SYSTEM, Format, Message
from worker.texts.methods import streams_of
from worker.texts.prompts import encode
from worker.texts.stops import StopTexts

MAX_TOKENS = 16
ROUNDING_OF_LOGITS = 1.0
"""Of bfloat16: its errors were 0.1 by root mean square, 0.9 at most over all of the vocabulary."""
CAPITAL = "What is the capital of France?"
PROMPTS = (CAPITAL, "Write a short invitation to a garden party.", "Explain in two sentences why the sky is blue.")


@pytest.fixture(scope="module")
def tokenizer(smollm2: Path) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(smollm2)
    return tokenizer


@pytest.fixture(scope="module")
def engine(smollm2: Path) -> Engine:
    return load_engine(str(smollm2), device="cpu", dtype="float32", num_slots=4, max_length=512)


def streams(
    tokenizer: PreTrainedTokenizerBase, method: Method, prompt: str, *principles: str, format: Format = SYSTEM
) -> tuple[Stream, ...]:
    preference = EffectivePreference(method, 1.0, tuple(Principle(text) for text in principles))
    return streams_of(preference, [Message(role="user", content=prompt)], partial(encode, tokenizer), format)


def decode(engine: Engine, requests: Sequence[Request]) -> list[Completion]:
    """The completions in the order of the requests, whose ids count them from 0."""
    completions = [outcome for outcome in engine.generate(requests) if isinstance(outcome, Completion)]
    assert len(completions) == len(requests)
    return sorted(completions, key=lambda completion: int(completion.request_id))


def test_strength_zero_is_what_generate_writes(
    smollm2: Path, engine: Engine, tokenizer: PreTrainedTokenizerBase
) -> None:
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    guided = [streams(tokenizer, Method.CONTRAST, prompt, "write like a pirate") for prompt in PROMPTS]
    written = []
    for prompt in (of_prompt[0].prompt for of_prompt in guided):
        ids = torch.tensor([prompt])
        whole = model.generate(  # type: ignore[misc] # transformers types `self` as a protocol its classes do not match
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=MAX_TOKENS, do_sample=False
        )
        written.append(whole[0, len(prompt) :].tolist())

    completions = decode(
        engine,
        [Request(number, given, strength=0.0, max_tokens=MAX_TOKENS) for number, given in enumerate(guided)],
    )

    end = tokenizer.eos_token_id
    assert [list(completion.token_ids) for completion in completions] == [
        [token for token in tokens if token != end] for tokens in written
    ]


def test_a_stop_text_ends_a_real_text(engine: Engine, tokenizer: PreTrainedTokenizerBase) -> None:
    plain = streams(tokenizer, Method.NONE, CAPITAL)
    stop = StopTexts(tokenizer, ("Paris",))

    whole, stopped = decode(engine, [Request(0, plain), Request(1, plain, stop=stop)])

    assert tokenizer.decode(list(whole.token_ids)) == "The capital of France is Paris."
    assert tokenizer.decode(list(stopped.token_ids)) == "The capital of France is Paris"
    assert stopped.finish_reason is FinishReason.STOP


@pytest.mark.parametrize("principle", ["be very formal", "write like a pirate"])
@pytest.mark.parametrize("format", [SYSTEM, INSTRUCTION], ids=lambda format: format.name)
def test_a_guided_text_does_not_repeat_how_it_was_told(
    engine: Engine, tokenizer: PreTrainedTokenizerBase, format: Format, principle: str
) -> None:
    requests = [
        Request(
            number, streams(tokenizer, Method.CONTRAST, prompt, principle, format=format), 0.5, max_tokens=MAX_TOKENS
        )
        for number, prompt in enumerate(PROMPTS)
    ]

    texts = [str(tokenizer.decode(list(completion.token_ids))) for completion in decode(engine, requests)]

    told = format.filled([principle])
    assert not [text for text, prompt in zip(texts, PROMPTS, strict=True) if echoes(text, told, [prompt])]
    assert not [text for text in texts if "[Guidelines]" in text or "[Principles]" in text]


def test_a_budget_bounds_how_far_a_real_text_is_moved(engine: Engine, tokenizer: PreTrainedTokenizerBase) -> None:
    pirate = [streams(tokenizer, Method.CONTRAST, prompt, "write like a pirate") for prompt in PROMPTS]

    completions = decode(
        engine,
        [Request(number, given, 4.0, max_kl=0.2, max_tokens=MAX_TOKENS) for number, given in enumerate(pirate)],
    )

    kls = [completion.kl for completion in completions]
    assert all(kl is not None and 0.01 < kl <= 0.2 + 1e-6 for kl in kls)


def test_the_dtype_of_a_gpu_loads_and_answers(smollm2: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Which of two words that are all but equal comes first depends on the processor: here "The" and "L", by 0.08."""
    halved = load_engine(str(smollm2), device="cpu", dtype="bfloat16", num_slots=4, max_length=512)
    (asked,) = streams(tokenizer, Method.NONE, CAPITAL)

    (completion,) = decode(halved, [Request(0, (asked,), max_tokens=MAX_TOKENS)])

    exact = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    with torch.inference_mode():
        logits = exact(torch.tensor([[*asked.prompt, *completion.token_ids]])).logits[0, len(asked.prompt) - 1 : -1]
    chosen = logits.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
    assert len(completion.token_ids) > 4
    assert float((logits.amax(1) - chosen).max()) < ROUNDING_OF_LOGITS
