"""What the registry is told of a tokenizer and a template: bounds that no prompt goes below."""

import itertools
import math
import random
import unicodedata
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from api.submissions.model_limits import ModelLimits
from domain.json_values import JsonObject
from domain.preferences import Method, Principle, effective_preference
from domain.sampling import Sampling
from tests.tiny_model import CHAT_TEMPLATE, a_tokenizer
from worker.model.card import Card
from worker.model.description import describe, longest_token_bytes, num_template_tokens, num_turn_tokens
from worker.texts.formats import INSTRUCTION, PAD, SYSTEM, Format, Message
from worker.texts.methods import streams_of
from worker.texts.prompts import encode

UNKNOWN = "?"
DEMO = Path(__file__).parents[3] / "examples" / "demo" / "model" / "base"
TEXTS = (
    "<think>hm</think> hi",
    "hi",
    "  spaces   and\n\nlines ",
    "茶 and ÀÉ",
    "\U0001f375" * 9,
    "Write two sentences about our new tea. " * 9,
)
OWN_SYSTEM_TURN = (
    "{% if messages[0]['role'] != 'system' %}<|system|>You are a helpful assistant.<|end|>{% endif %}"
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
)
TRIMMING = (
    "{% for message in messages %}<|{{ message['role'] }}|>{% if message['role'] == 'assistant' %}"
    "{{ message['content'].split('</think>')[-1] | trim }}{% else %}{{ message['content'] | trim }}{% endif %}<|end|>"
    "{% endfor %}<|assistant|>"
)
SPELT = ("be formal", "[ Principles ] of  tea", "é" * 20, "cafe\u0301 " * 3)
NO_SYSTEM_TURN = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}<|user|>{{ messages[0]['content'] }}"
)


def a_word_tokenizer() -> PreTrainedTokenizerFast:
    """Whatever it does not know is one token, of any length; spaces are lost."""
    tokenizer = Tokenizer(models.WordLevel(vocab={"tea": 0, UNKNOWN: 1}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=UNKNOWN)  # type: ignore[no-untyped-call]


def a_lowercasing_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "tokenizer", [a_tokenizer(), a_tokenizer(chat_template=None), AutoTokenizer.from_pretrained(DEMO)]
)
@pytest.mark.parametrize("system", [None, "", "Be brief."])
def test_no_prompt_has_fewer_tokens_than_the_bounds_say(tokenizer: PreTrainedTokenizerBase, system: str | None) -> None:
    least, longest = num_template_tokens(tokenizer), longest_token_bytes(tokenizer)
    assert longest > 0
    for text in TEXTS:
        turns = [Message(role="system", content=system)] if system is not None else []
        num_tokens = len(encode(tokenizer, [*turns, Message(role="user", content=text)]))
        num_bytes = len(unicodedata.normalize("NFC", text).strip().encode())

        assert least + math.ceil(num_bytes / longest) <= num_tokens


def test_a_byte_of_a_byte_level_vocabulary_is_one_byte_long() -> None:
    assert longest_token_bytes(a_tokenizer()) == len("<|assistant|>")


def test_a_system_turn_that_the_template_brings_itself_is_no_part_of_the_least() -> None:
    assert num_template_tokens(a_tokenizer(chat_template=OWN_SYSTEM_TURN)) == 4
    assert num_template_tokens(a_tokenizer(chat_template=NO_SYSTEM_TURN)) == 1


LAST_TURN_ALONE = "<|user|>{{ messages[-1]['content'] }}<|end|><|assistant|>"
WITHOUT_SYSTEM = (
    "{% for message in messages if message['role'] != 'system' %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}<|assistant|>"
)
RECENT_TURNS = CHAT_TEMPLATE.replace("in messages", "in messages[-9:]")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (CHAT_TEMPLATE, 2),
        (None, 0),
        (OWN_SYSTEM_TURN, 2),
        *((template, None) for template in (LAST_TURN_ALONE, WITHOUT_SYSTEM, RECENT_TURNS, NO_SYSTEM_TURN)),
    ],
)
def test_a_template_that_leaves_out_turns_is_found(template: str | None, expected: int | None) -> None:
    assert num_turn_tokens(a_tokenizer(chat_template=template)) == expected


# No model is loaded whose card writes a system turn that its template drops (`worker.texts.decoder.completed`).
SHOWN = [
    *((template, SYSTEM) for template in (CHAT_TEMPLATE, OWN_SYSTEM_TURN, TRIMMING)),
    *itertools.product((CHAT_TEMPLATE, None, OWN_SYSTEM_TURN, LAST_TURN_ALONE, TRIMMING), (PAD, INSTRUCTION)),
]


@pytest.mark.parametrize(("template", "format"), SHOWN)
@pytest.mark.parametrize("method", list(Method))
def test_no_item_is_said_to_need_more_tokens_than_its_longest_prompt_has(
    template: str | None, method: Method, format: Format
) -> None:
    tokenizer = a_tokenizer(chat_template=template)
    model = describe(tokenizer, Card(format=format), digest="d", has_policy=True, max_length=1, vocab_size=1)
    rng = random.Random(1)

    for _ in range(20):
        messages = a_conversation(rng)
        principles = [Principle(rng.choice(SPELT), rng.random()) for _ in range(rng.randrange(4))]
        examples = [rng.choice(TEXTS) for _ in range(rng.randrange(3))]
        preference = effective_preference(method, 1.0, principles, examples=examples)

        streams = streams_of(preference, messages, partial(encode, tokenizer), format)

        longest = max(len(stream.prompt) for stream in streams)
        # The engine accepts what fits exactly.
        fits = ModelLimits("m", replace(model, max_length=longest + 1))
        assert fits.excess(cast("list[JsonObject]", messages), preference, Sampling(max_tokens=1)) is None


def a_conversation(rng: random.Random) -> list[Message]:
    turns = [Message(role="system", content=rng.choice(TEXTS))] if rng.random() < 0.5 else []
    for _ in range(rng.randrange(3)):
        turns += [Message(role=role, content=rng.choice(TEXTS)) for role in ("user", "assistant")]
    return [*turns, Message(role="user", content=rng.choice(TEXTS))]


@pytest.mark.parametrize("tokenizer", [a_word_tokenizer(), a_lowercasing_tokenizer()])
def test_of_a_tokenizer_that_changes_texts_nothing_is_promised(tokenizer: PreTrainedTokenizerBase) -> None:
    assert longest_token_bytes(tokenizer) == 0


@pytest.mark.parametrize(("has_policy", "default"), [(True, Method.PAD), (False, Method.CONTRAST)])
def test_a_model_can_do_what_its_policy_allows(default: Method, *, has_policy: bool) -> None:
    card = Card(format=SYSTEM, strength=1.5, max_kl=0.4)

    described = describe(a_tokenizer(), card, digest="d" * 64, has_policy=has_policy, max_length=512, vocab_size=260)

    assert described.default_method is default
    assert (Method.PAD in described.methods, Method.MIXTURE in described.methods) == (has_policy, True)
    assert (described.strength, described.max_kl, described.format) == (1.5, 0.4, "system")
    assert Card.model_validate(described.card) == card
