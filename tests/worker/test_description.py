"""What the registry is told of a tokenizer and a template: bounds that no prompt goes below."""

import math
import unicodedata
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from db.preferences import Method
from tests.tiny_model import a_tokenizer
from worker.card import Card
from worker.description import describe, longest_token_bytes, num_template_tokens
from worker.formats import SYSTEM, Message
from worker.prompts import encode

UNKNOWN = "?"
DEMO = Path(__file__).parents[2] / "examples" / "demo" / "model" / "base"
TEXTS = ("hi", "  spaces   and\n\nlines ", "茶 and ÀÉ", "\U0001f375" * 9, "Write two sentences about our new tea. " * 9)
OWN_SYSTEM_TURN = (
    "{% if messages[0]['role'] != 'system' %}<|system|>You are a helpful assistant.<|end|>{% endif %}"
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
)
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
