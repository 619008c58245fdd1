"""Texts that are said while they grow are, joined, the final text: whatever the tokenizer, the stops, the method."""

from collections.abc import Sequence
from typing import cast

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from domain.attempts import Attempt, ClaimedItem, Outcome
from domain.preferences import EffectivePreference, Method
from domain.text_pieces import Piece
from tests.builders import preference
from tests.tiny_model import a_tokenizer, write_tiny_model, write_tiny_policy
from tests.worker.items import PLAIN, an_item, settings_for
from worker.texts.decoder import TextDecoder, load_decoder
from worker.texts.growing import GrowingText
from worker.texts.stops import StopTexts

LISTENER = "process.name"
CUT = "\N{REPLACEMENT CHARACTER}"


def a_byte_fallback_tokenizer() -> PreTrainedTokenizerFast:
    """As Llama's: words with a mark for the space before them, and bytes for what no word has."""
    unknown = "<unk>"
    words = [unknown, *(f"<0x{number:02X}>" for number in range(256)), "▁", "▁tea", "▁is", "▁good", ".", "s"]
    tokenizer = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call] # transformers does not annotate it
        tokenizer_object=tokenizer, unk_token=unknown
    )


def a_word_piece_tokenizer() -> PreTrainedTokenizerFast:
    """As BERT's: a space in front of each token, which is taken back before punctuation."""
    unknown = "[UNK]"
    words = [unknown, "do", "n't", "tea", ".", ",", "##s", "'", "s", "i", "'m"]
    tokenizer = Tokenizer(
        models.WordPiece(vocab={word: number for number, word in enumerate(words)}, unk_token=unknown)
    )
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call] # transformers does not annotate it
        tokenizer_object=tokenizer, unk_token=unknown, clean_up_tokenization_spaces=True
    )


def ids_of(tokenizer: PreTrainedTokenizerBase, *tokens: str) -> list[int]:
    vocabulary = tokenizer.get_vocab()
    return [vocabulary[token] for token in tokens]


def byte_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return ids_of(tokenizer, *(f"<0x{number:02X}>" for number in text.encode()))


def said_by(stops: StopTexts, token_ids: Sequence[int]) -> list[str]:
    """After each token, what has been said by then; the one that completes a stop text ends it."""
    text, said = GrowingText(stops), [""]
    for length in range(1, len(token_ids) + 1):
        if stops(token_ids[:length]) is not None:
            assert length == len(token_ids)
            break
        offset, new = text.grown(token_ids[:length])
        assert offset == len(said[-1])
        said.append(said[-1] + new)
    return said[1:]


def assert_certain(stops: StopTexts, token_ids: Sequence[int]) -> list[str]:
    """Whenever it ended, its text would begin with what has been said."""
    said = said_by(stops, token_ids)
    for length, text in enumerate(said, start=1):
        for end in range(length, len(token_ids) + 1):
            assert stops.text(token_ids[:end]).startswith(text)
    assert stops.text(token_ids).startswith(said[-1])
    return said


def bytes_of(text: str) -> list[int]:
    return list(a_tokenizer().encode(text, add_special_tokens=False))


def test_a_character_of_several_tokens_is_said_with_the_last_of_them() -> None:
    said = assert_certain(StopTexts(a_tokenizer(), []), bytes_of("a🫖b"))

    assert said == ["a", "a", "a", "a", "a🫖", "a🫖b"]


def test_bytes_that_are_no_character_are_said_once_something_stands_behind_them() -> None:
    broken = [*bytes_of("a"), *bytes_of("🫖")[:2], *bytes_of("bc"), *bytes_of("🫖")[:3]]

    said = assert_certain(StopTexts(a_tokenizer(), []), broken)

    assert said == ["a", "a", "a", f"a{CUT}b", *[f"a{CUT}bc"] * 4]


def test_words_and_bytes_of_a_byte_fallback_tokenizer_are_said_as_they_end_up() -> None:
    tokenizer = a_byte_fallback_tokenizer()
    token_ids = [
        *ids_of(tokenizer, "▁tea", "▁is", "▁", "▁good"),
        *byte_ids(tokenizer, "🫖"),
        *ids_of(tokenizer, "▁", "▁", "."),
        *byte_ids(tokenizer, "é")[:1],
        *ids_of(tokenizer, "s"),
    ]

    said = assert_certain(StopTexts(tokenizer, []), token_ids)

    assert said[1] == "tea is"
    assert said[-1] == f"tea is  good🫖  .{CUT}s"


def test_spaces_that_the_tokenizer_may_take_back_are_not_said() -> None:
    tokenizer = a_word_piece_tokenizer()
    token_ids = ids_of(tokenizer, "tea", "##s", ",", "i", "'m", "do", "n't", "tea", "'", "s", ".", "tea", "tea")

    said = assert_certain(StopTexts(tokenizer, []), token_ids)

    assert said[-1].startswith("teas, i'm don't tea")


@pytest.mark.parametrize(
    ("stops", "text"),
    [
        (["END"], "an EN and EEND of it"),
        (["aab", "abc"], "aaaabcd"),
        (["🫖🫖"], "x🫖y🫖🫖z"),
        (["\n\n"], "one\ntwo\n\nthree"),
        (["<|end|>"], "a <|en and <|end|> b"),
    ],
)
def test_what_may_begin_a_stop_text_is_not_said(stops: list[str], text: str) -> None:
    stop = StopTexts(a_tokenizer(), stops)
    token_ids = bytes_of(text)
    end = next(length for length in range(1, len(token_ids) + 1) if stop(token_ids[:length]) is not None)

    said = assert_certain(stop, token_ids[:end])

    assert stop.text(token_ids[:end]) == said[-1]


def test_broken_bytes_in_front_of_a_stop_text_are_not_said() -> None:
    stop = StopTexts(a_tokenizer(), ["END"])

    said = assert_certain(stop, [*bytes_of("ab"), *bytes_of("🫖")[:1], *bytes_of("END")])

    assert said[-1] == "ab"


def test_a_stop_text_of_special_tokens_holds_back_what_stands_before_them() -> None:
    tokenizer = a_tokenizer()
    end, user = ids_of(tokenizer, "<|end|>", "<|user|>")
    stop = StopTexts(tokenizer, ["go<|end|><|user|>"])

    said = assert_certain(stop, [*bytes_of("let go"), end, end, *bytes_of("go"), end, user])

    assert said[-1] == "let go"


def test_within_the_first_tokens_a_stop_text_is_said_as_any_other() -> None:
    stop = StopTexts(a_tokenizer(), ["END"], min_tokens=6)

    said = assert_certain(stop, bytes_of("END of an END"))

    assert said[5] == "END of"
    assert said[-1] == "END of an "


def test_text_that_an_engine_begins_again_is_not_said_twice() -> None:
    text = GrowingText(StopTexts(a_tokenizer(), []))
    token_ids = bytes_of("some tea")

    first = text.grown(token_ids[:4])
    again = [text.grown(token_ids[:length]) for length in range(9)]

    assert first == (0, "some")
    assert "".join(new for _, new in again) == " tea"


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> TextDecoder:
    directory = tmp_path_factory.mktemp("models")
    write_tiny_model(directory / "base")
    write_tiny_policy(directory / "policy", directory / "base")
    return load_decoder(settings_for(directory / "base", directory / "policy"))


def listened_to(item_id: int, given: EffectivePreference = PLAIN, **sampling: object) -> ClaimedItem:
    return an_item(item_id, "tea", given, listener=LISTENER, max_tokens=48, **sampling)


def decode(decoder: TextDecoder, *items: ClaimedItem) -> tuple[list[Outcome], list[Sequence[Piece]]]:
    """How they ended, and what each step said."""
    assert [decoder.add(item) for item in items] == [None] * len(items)
    outcomes: list[Outcome] = []
    steps = []
    while decoder.has_work:
        outcomes += decoder.step()
        steps.append(decoder.take_pieces())
    return outcomes, steps


def joined(steps: Sequence[Sequence[Piece]], choice: int = 0) -> str:
    text = ""
    for piece in (piece for step in steps for piece in step if piece.choice == choice):
        assert (piece.listener, piece.attempt, piece.offset) == (LISTENER, 1, len(text))
        text += piece.text
    return text


@pytest.mark.parametrize("method", list(Method))
def test_the_pieces_of_every_method_are_its_text(decoder: TextDecoder, method: Method) -> None:
    (outcome,), steps = decode(decoder, listened_to(1, preference("formal", "brief", method=method)))

    assert joined(steps) == outcome.text
    assert sum(map(bool, steps)) > 5


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_each_of_several_answers_is_said_as_its_own(decoder: TextDecoder, temperature: float) -> None:
    (outcome,), steps = decode(decoder, listened_to(1, n=3, temperature=temperature, k=50))

    assert outcome.choices is not None
    assert [joined(steps, choice) for choice in range(3)] == [choice["text"] for choice in outcome.choices]


def test_an_answer_with_stop_texts_and_a_least_length_is_said_as_it_ends(decoder: TextDecoder) -> None:
    (whole,), _ = decode(decoder, listened_to(1, min_tokens=48))
    text = str(whole.text)

    for stop in (text[:2], text[10:12], text[20:23]):
        (outcome,), steps = decode(decoder, listened_to(1, min_tokens=9, stop=[stop]))
        assert joined(steps) == outcome.text


def test_nul_is_said_as_it_is_stored() -> None:
    text = GrowingText(StopTexts(a_tokenizer(), []))

    assert text.grown(bytes_of("a\0b")) == (0, "a\0b")


def test_of_items_that_nobody_listens_to_nothing_is_said(decoder: TextDecoder) -> None:
    heard, unheard = listened_to(1), an_item(2, "tea", max_tokens=48)

    outcomes, steps = decode(decoder, heard, unheard)

    assert len({outcome.text for outcome in outcomes}) == 1
    assert joined(steps) == outcomes[0].text


def test_an_engine_to_which_nobody_listens_is_asked_nothing_more(
    decoder: TextDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object) -> Sequence[int]:
        raise AssertionError

    monkeypatch.setattr(type(cast("object", decoder._engine)), "token_ids", asked)  # noqa: SLF001 - what it is not asked

    outcomes, steps = decode(decoder, an_item(1, "tea"))

    assert outcomes[0].text
    assert not any(steps)


def test_of_a_cancelled_item_nothing_more_is_said(decoder: TextDecoder) -> None:
    decoder.add(listened_to(1))
    decoder.add(an_item(2, "tea"))
    decoder.step()
    decoder.cancel(Attempt(1, 1))
    decoder.take_pieces()

    _, steps = decode(decoder)

    assert not any(steps)
