"""A completion ends where the client's stop text appears, and the text ends before it."""

from functools import cache
from itertools import pairwise

import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import ByteFallback, Fuse
from tokenizers.decoders import Replace as DecoderReplace
from tokenizers.decoders import Sequence as DecoderSequence
from tokenizers.models import BPE, WordLevel
from tokenizers.normalizers import Replace
from transformers import PreTrainedTokenizerFast

from tests.tiny_model import a_tokenizer
from worker.texts.stops import StopTexts, text_before


def ids(text: str) -> list[int]:
    return list(a_tokenizer().encode(text, add_special_tokens=False))


def an_id(token: str) -> int:
    return int(a_tokenizer().get_vocab()[token])


def test_a_completion_ends_with_the_token_that_completes_a_stop_text() -> None:
    stop = StopTexts(a_tokenizer(), ["END", "STOP"])
    token_ids = ids("some text END")

    kept = [stop(token_ids[:length]) for length in range(1, len(token_ids) + 1)]

    assert kept == [None] * (len(token_ids) - 1) + [len(token_ids)]


def test_a_stop_text_of_several_bytes_a_character_is_found() -> None:
    stop = StopTexts(a_tokenizer(), ["🫖🫖"])

    assert stop(ids("a long text before it 🫖🫖")) is not None
    assert stop(ids("a long text before it 🫖")) is None


@pytest.mark.parametrize(
    ("stops", "expected"),
    [((), "one two three"), (("two",), "one "), (("three", "one"), ""), (("four",), "one two three")],
)
def test_the_text_ends_before_the_earliest_stop_text(stops: tuple[str, ...], expected: str) -> None:
    assert text_before("one two three", stops) == expected


def test_a_stop_text_within_the_first_tokens_ends_nothing_and_cuts_nothing() -> None:
    token_ids = ids("END of a text, END")
    first = len(ids("END of"))
    stop = StopTexts(a_tokenizer(), ["END"], min_tokens=first)

    kept = [stop(token_ids[:length]) for length in range(1, len(token_ids) + 1)]

    assert kept == [None] * (len(token_ids) - 1) + [len(token_ids)]
    assert stop.text(token_ids) == "END of a text, "
    assert stop.text(token_ids[:first]) == "END of"


def test_a_stop_text_that_the_first_tokens_only_begin_is_one() -> None:
    token_ids = ids("END, and on")
    stop = StopTexts(a_tokenizer(), ["END"], min_tokens=len(ids("EN")))

    assert stop(token_ids[: len(ids("END"))]) == len(ids("END"))
    assert stop.text(token_ids) == ""


def test_a_character_that_the_first_tokens_leave_unfinished_is_not_theirs() -> None:
    token_ids = ids("🫖 and")
    stop = StopTexts(a_tokenizer(), ["🫖"], min_tokens=2)

    assert stop(ids("🫖")) == len(ids("🫖"))
    assert stop.text(token_ids) == ""


def test_special_tokens_among_the_first_tokens_are_not_looked_at() -> None:
    end = an_id("<|end|>")
    token_ids = [*ids("te"), end, *ids("a"), end]
    stop = StopTexts(a_tokenizer(), ["<|end|>"], min_tokens=3)

    kept = [stop(token_ids[:length]) for length in range(1, len(token_ids) + 1)]

    assert kept == [None, None, None, None, 5]
    assert stop.text(token_ids) == "tea"


def test_a_stop_text_that_spells_a_special_token_works_as_written() -> None:
    stop = StopTexts(a_tokenizer(), ["<|end|>", "unseen"])
    token_ids = [*ids("tea"), an_id("<|end|>")]

    kept = [stop(token_ids[:length]) for length in range(1, len(token_ids) + 1)]

    assert kept == [None, None, None, 4]
    assert stop.text(token_ids) == "tea"


def test_a_stop_text_may_begin_in_front_of_a_special_token() -> None:
    stop = StopTexts(a_tokenizer(), ["a<|end|>"])
    token_ids = [*ids("tea"), an_id("<|end|>")]

    assert stop(token_ids) == 4
    assert stop.text(token_ids) == "te"


def test_special_tokens_are_never_shown() -> None:
    user = an_id("<|user|>")

    assert StopTexts(a_tokenizer(), ["<|end|>"]).text([user, *ids("tea"), user, *ids("!")]) == "tea!"
    assert StopTexts(a_tokenizer(), []).text([user, *ids("tea")]) == "tea"


@pytest.mark.parametrize("num_bytes", [1, 2, 3])
def test_a_text_never_ends_in_half_a_character(num_bytes: int) -> None:
    token_ids = [*ids("tea "), *ids("🫖")[:num_bytes]]

    assert StopTexts(a_tokenizer(), []).text(token_ids) == "tea "
    assert StopTexts(a_tokenizer(), ["<|end|>"]).text(token_ids) == "tea "


def test_a_stop_text_that_stands_first_leaves_an_empty_text() -> None:
    assert StopTexts(a_tokenizer(), ["te"]).text(ids("tea")) == ""


@pytest.mark.parametrize("num_between", [1, 20, 200])
def test_tokens_that_are_not_shown_do_not_hide_a_stop_text_that_they_stand_in(num_between: int) -> None:
    silent = [an_id("<|user|>"), len(a_tokenizer()) + 3]  # the second only pads a vocabulary
    token_ids = [*ids("a text E"), *silent * num_between, *ids("N"), *silent * num_between, *ids("D")]
    stop = StopTexts(a_tokenizer(), ["END"])

    kept = [stop(token_ids[:length]) for length in range(1, len(token_ids) + 1)]

    assert kept == [None] * (len(token_ids) - 1) + [len(token_ids)]
    assert stop.text(token_ids) == "a text "


def test_the_first_tokens_end_nothing_where_tokens_that_are_not_shown_stand_among_them() -> None:
    user = an_id("<|user|>")
    token_ids = [*ids("EN"), *[user] * 40, *ids("D"), *[user] * 40, *ids(" END")]
    stop = StopTexts(a_tokenizer(), ["END"], min_tokens=43)

    assert stop(token_ids[:43]) is None
    assert stop(token_ids[:-1]) is None
    assert stop(token_ids) == len(token_ids)
    assert stop.text(token_ids) == "END "


@pytest.mark.parametrize(
    ("stops", "text", "found"),
    [
        (["END", "STOP"], "some text END", "END"),
        (["END", "STOP"], "some text", None),
        (["b", "abc", "ab"], "xabc", "ab"),
        (["long one", "o"], "a long one", "long one"),
        ([], "some text", None),
    ],
)
def test_the_stop_text_that_a_text_ends_before_is_known(stops: list[str], text: str, found: str | None) -> None:
    stop = StopTexts(a_tokenizer(), stops)

    assert stop.stop_of(ids(text)) == found
    assert stop.text(ids(text)) == (text if found is None else text[: text.index(found)])


def test_a_stop_text_that_spells_a_special_token_is_known_as_well() -> None:
    token_ids = [*ids("tea"), an_id("<|end|>")]

    assert StopTexts(a_tokenizer(), ["<|end|>", "unseen"]).stop_of(token_ids) == "<|end|>"
    assert StopTexts(a_tokenizer(), ["<|end|>", "ea"]).stop_of(token_ids) == "ea"
    assert StopTexts(a_tokenizer(), ["unseen"]).stop_of(token_ids) is None


def test_a_stop_text_within_the_first_tokens_is_not_what_the_text_ends_before() -> None:
    first = len(ids("END of"))

    assert StopTexts(a_tokenizer(), ["END"], min_tokens=first).stop_of(ids("END of a text")) is None
    assert StopTexts(a_tokenizer(), ["END"], min_tokens=first).stop_of(ids("END of a text, END")) == "END"


UNKNOWN = "<unk>"
THAI = "สวัสดีครับ ชาหรือกาแฟ"


@cache
def a_byte_tokenizer() -> PreTrainedTokenizerFast:
    """As Llama 2, Mistral and Gemma have it: what is no word is spelt in bytes, which are decoded all together."""
    words = {UNKNOWN: 0, **{f"<0x{byte:02X}>": 1 + byte for byte in range(256)}}
    words |= {letter: len(words) + number for number, letter in enumerate("▁abcdefghijklmnopqrstuvwxyz")}
    tokenizer = Tokenizer(BPE(vocab=words, merges=[], unk_token=UNKNOWN, byte_fallback=True))
    tokenizer.normalizer = Replace(" ", "▁")
    tokenizer.decoder = DecoderSequence([DecoderReplace("▁", " "), ByteFallback(), Fuse()])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call] # transformers does not annotate it
        tokenizer_object=tokenizer, unk_token=UNKNOWN, clean_up_tokenization_spaces=False
    )


@pytest.mark.parametrize("stop", ["กาแฟ", "ครับ", "🫖", "e"])
def test_a_stop_text_is_found_among_bytes_wherever_the_tail_begins(stop: str) -> None:
    tokenizer = a_byte_tokenizer()
    text = f"a text {THAI * 3}, {stop}"
    token_ids = tokenizer.encode(text.replace("กาแฟ", "", 3) if stop == "กาแฟ" else text)
    stops = StopTexts(tokenizer, [stop])

    ends = [length for length in range(1, len(token_ids) + 1) if stops(token_ids[:length]) is not None]

    whole, kept = str(tokenizer.decode(token_ids)), tokenizer.decode(token_ids[: ends[0]])
    assert kept == whole[: whole.find(stop) + len(stop)]


def test_half_a_character_at_the_end_costs_no_other() -> None:
    tokenizer = a_byte_tokenizer()
    token_ids = tokenizer.encode(f"tea {THAI}🫖")
    stops = StopTexts(tokenizer, [])

    shown = [stops.text(token_ids[:length]) for length in range(len(token_ids) + 1)]

    assert shown[-1] == f"tea {THAI}🫖"
    assert shown[-2] == shown[-4] == f"tea {THAI}"
    assert all(one == other[: len(one)] for one, other in pairwise(shown))


def test_tokens_that_only_look_like_bytes_are_words() -> None:
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call] # transformers does not annotate it
        tokenizer_object=Tokenizer(WordLevel({UNKNOWN: 0, "<0xC3>": 1, "<0xA9>": 2}, unk_token=UNKNOWN)),
        unk_token=UNKNOWN,
    )

    assert StopTexts(tokenizer, []).text([1]) == "<0xC3>"
