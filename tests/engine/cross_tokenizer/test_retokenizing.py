"""Texts grow token by token of one tokenizer and are always what another one makes of the whole."""

import json
import unicodedata
from collections.abc import Callable
from functools import cache, partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from tests.engine.cross_tokenizer.pairs import ENGLISH, MIXED, bytes_bpe, id_of_end, whole_characters
from worker.engine.cross_tokenizer.cuts import Cuts
from worker.engine.cross_tokenizer.retokenizing import Continued, GrowingText, Retokenizer
from worker.engine.cross_tokenizer.spelling import Spelling, UnknownSpellingError
from worker.engine.cross_tokenizer.trees import tree_of

_QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def like_gpt2() -> Tokenizer:
    return bytes_bpe(ENGLISH, 300)


def like_qwen() -> Tokenizer:
    """Characters put together first, and words as its expression finds them."""
    tokenizer = bytes_bpe(MIXED, 340)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return tokenizer


def like_gemma() -> Tokenizer:
    """Spaces are letters, and characters that are no tokens are bytes."""
    spoken = MIXED.replace(" ", "▁").replace("🙂", "").replace("日", "")
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))  # noqa: S106 (a token of text)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokens = ["<unk>", "<end>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words = ["▁" + word for word in spoken.split("▁")]
    tokenizer.train_from_iterator(
        words, trainers.BpeTrainer(vocab_size=420, special_tokens=tokens, show_progress=False)
    )
    learnt = json.loads(tokenizer.to_str())
    learnt["added_tokens"] = learnt["added_tokens"][:2]
    return Tokenizer.from_str(json.dumps(learnt))


def like_llama2() -> Tokenizer:
    """As Gemma, with a space in front of every text, which decoding drops."""
    tokenizer = like_gemma()
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "gpt2": cache(like_gpt2),
    "qwen": cache(like_qwen),
    "gemma": cache(like_gemma),
    "llama2": cache(like_llama2),
}
TEXTS = st.text(st.sampled_from("abehnst  \n,.'1ที่นี🙂日本語กかが\u3099ßé\u0301A"), max_size=40)


@cache
def spelling(kind: str) -> Spelling:
    return Spelling.of(KINDS[kind](), silent={id_of_end(KINDS[kind]())})


@cache
def retokenizer(kind: str) -> Retokenizer:
    return Retokenizer(Tokenizer.from_str(KINDS[kind]().to_str()))


@pytest.mark.parametrize("guide", KINDS)
@pytest.mark.parametrize("base", KINDS)
@settings(max_examples=15, deadline=None)
@given(text=TEXTS)
def test_the_tokens_of_a_growing_text_are_those_of_the_whole_text(base: str, guide: str, text: str) -> None:
    writes, reads = KINDS[base](), retokenizer(guide)
    token_ids = writes.encode(text, add_special_tokens=False).ids
    others = [7, 100, 200, 299, *token_ids[:3]]
    growing = GrowingText()

    for place, token_id in enumerate(token_ids):
        candidates = [token_id, *others]
        found = growing.continued(reads.tokens(growing.candidates(spelling(base), candidates)))
        whole = [
            whole_characters(spelling(base).spelt([*token_ids[:place], candidate], at_start=True))
            for candidate in candidates
        ]
        assert [(*found.settled, *ending) for ending in found.endings] == reads.tokens(whole)
        growing.append(spelling(base), token_id, reads)


def test_words_are_settled_where_no_token_reaches_over_them() -> None:
    assert {kind: retokenizer(kind).cuts.between_words for kind in KINDS} == {
        "gpt2": True,
        "qwen": True,
        "gemma": True,
        "llama2": False,  # it puts a space in front of whatever it is given
    }
    greedy = like_gpt2()
    greedy.add_tokens([AddedToken("a ", normalized=False)])
    assert not Retokenizer(greedy).cuts.between_words


@pytest.mark.parametrize("kind", ["gpt2", "qwen", "gemma"])
def test_what_is_looked_at_again_does_not_grow_in_scripts_without_spaces(kind: str) -> None:
    text = "ที่นี่กขคงจ日本語で書くかが書かない中文没有空格" * 8
    growing, reads = GrowingText(), retokenizer(kind)
    longest = 0

    for token_id in KINDS["gpt2"]().encode(text).ids:
        growing.append(spelling("gpt2"), token_id, reads)
        longest = max(longest, len(growing.open))

    assert longest < 20
    found = growing.continued(reads.tokens([growing.open]))
    assert [(*found.settled, *found.endings[0])] == reads.tokens([text])


def test_letters_that_a_token_may_hold_together_are_not_cut_apart() -> None:
    token = "x日本".encode()
    cuts = Cuts.of([token, "か".encode()[1:] + "本".encode()[:1], b"a b"], list_of_letters, str)

    assert [*cuts.letter_cuts("本日本本語")] == [3, 1]  # not 日|本, and not before the last letter
    assert [*cuts.letter_cuts("学か本本学学")] == [4, 3, 1]  # a token may have か's end and 本's beginning
    assert [*cuts.letter_cuts("本日a本日")] == []
    assert not cuts.between_words


def test_letters_that_normalization_puts_together_are_not_cut_apart() -> None:
    cuts = Cuts.of([], list_of_letters, partial(unicodedata.normalize, "NFC"))

    assert [*cuts.letter_cuts("\u1100\u1161\u11a8가나다")] == [4, 3]


def test_a_tokenizer_that_counts_letters_is_not_cut_between_them() -> None:
    def in_threes(text: str) -> tuple[int, ...]:
        return tuple(hash(text[start : start + 3]) for start in range(0, len(text), 3))

    assert Cuts.of([], list_of_letters, str).between_letters
    assert not Cuts.of([], in_threes, str).between_letters


def list_of_letters(text: str) -> tuple[int, ...]:
    return tuple(map(ord, text))


def test_a_tokenizer_that_shortens_fills_up_or_begins_texts_gives_their_tokens_alone() -> None:
    tokenizer = like_gpt2()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=9)
    tokenizer.post_processor = processors.TemplateProcessing(single="<end> $A", special_tokens=[("<end>", 0)])

    texts = ["the tea", "the letter was short"]
    assert Retokenizer(tokenizer).tokens(texts) == retokenizer("gpt2").tokens(texts)


def test_added_tokens_that_take_spaces_with_them_leave_no_cuts() -> None:
    tokenizer = like_gpt2()
    tokenizer.add_tokens([AddedToken("zz", lstrip=True)])

    assert Retokenizer(tokenizer).cuts == Cuts.none()


def test_a_cut_that_is_none_is_found_where_it_is_made() -> None:
    reads = Retokenizer(bytes_bpe(MIXED, 330))
    reads.cuts = Cuts.of([], list_of_letters, str)  # as if no token held two letters
    texts = [("ที่นี่ที่กขคกขค日本語日本語" * 2)[:length] for length in range(1, 46)]

    settled = [reads.settled(text) for text in texts]

    for text, (before, end) in zip(texts, settled, strict=True):
        assert before + reads.tokens([text[end:]])[0] == reads.tokens([text])[0]
    assert any(reads.cuts.last(text) and not end for text, (_, end) in zip(texts, settled, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(text=TEXTS)
def test_tokens_spell_the_text_that_they_were_made_of(kind: str, text: str) -> None:
    tokenizer = KINDS[kind]()
    token_ids = tokenizer.encode(text, add_special_tokens=False).ids

    spelt = spelling(kind).spelt(token_ids, at_start=True).decode()

    assert spelt == tokenizer.decode(token_ids)


def test_a_tokenizer_that_rewrites_what_it_decodes_is_not_spelt() -> None:
    for decoder in (decoders.WordPiece(), decoders.Sequence([decoders.Replace("e", "a"), decoders.Fuse()])):
        tokenizer = like_gpt2()
        tokenizer.decoder = decoder
        with pytest.raises(UnknownSpellingError, match="its tokenizer decodes by"):
            Spelling.of(tokenizer, silent=())
    tokenizer = like_gemma()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip("T", 1, 0)]
    )
    with pytest.raises(UnknownSpellingError, match="its tokenizer rewrites what it decodes"):
        Spelling.of(tokenizer, silent=())


def test_added_tokens_spell_what_they_are_written_as() -> None:
    tokenizer = like_gpt2()
    tokenizer.add_tokens([AddedToken("日 本", normalized=False)])

    tokens = Spelling.of(tokenizer, silent=()).tokens

    assert tokens[tokenizer.token_to_id("日 本") or 0] == "日 本".encode()


WORDS = st.lists(st.integers(0, 3), max_size=4).map(tuple)


@settings(max_examples=80, deadline=None)
@given(
    prompt=st.lists(st.integers(0, 3), min_size=1, max_size=4),
    settled=WORDS,
    endings=st.lists(WORDS, min_size=1, max_size=6),
    num_kept=st.integers(0, 12),
    others=st.lists(st.integers(0, 3), max_size=3),
)
def test_a_tree_has_every_token_of_every_candidate_behind_the_right_ones(
    prompt: list[int], settled: tuple[int, ...], endings: list[tuple[int, ...]], num_kept: int, others: list[int]
) -> None:
    held = [*[*prompt, *settled, *endings[0]][:num_kept], *others]
    tree = tree_of(prompt, Continued(settled, tuple(endings)), held)

    def text_up_to(node: int) -> list[int]:
        return [*held[: tree.start], *(tree.tokens[ancestor] for ancestor in tree.ancestors()[node])]

    for candidate, ending in enumerate(endings):
        whole = [*prompt, *settled, *ending]
        terms = [term for term in tree.terms if term.candidate == candidate]
        shared = len(whole) - len(terms)
        for place, term in enumerate(terms, start=shared):
            assert text_up_to(term.node) == whole[:place]
            assert tree.positions[term.node] == place - 1
            assert term.token_id == whole[place]
        assert all(
            other[: shared - len(prompt) - len(settled)] == ending[: shared - len(prompt) - len(settled)]
            for other in endings
        )
    seen = [text_up_to(node) for node in range(len(tree.tokens))]
    assert len({tuple(text) for text in seen}) == len(seen)
    follows = [parent == node - 1 for node, parent in enumerate(tree.parents) if node]
    num_in_a_row = next((node for node, is_next in enumerate(follows, start=1) if not is_next), len(tree.tokens))
    assert [*tree.held] == [*held[: tree.start], *tree.tokens[:num_in_a_row]]


def test_the_head_is_spared_only_where_every_candidate_has_a_token_there() -> None:
    all_add, one_ends = ((tree_of([1], Continued((), endings), ())) for endings in (((2,), (3, 4)), ((), (3, 4))))

    assert [(term.candidate, term.token_id) for term in all_add.first_terms(2)] == [(0, 2), (1, 3)]
    assert one_ends.first_terms(2) == ()


def test_text_that_spells_a_control_token_stays_text() -> None:
    (token_ids,) = retokenizer("gpt2").tokens(["so <end> it"])

    assert id_of_end(KINDS["gpt2"]()) not in token_ids
    assert KINDS["gpt2"]().decode(token_ids, skip_special_tokens=False) == "so <end> it"
