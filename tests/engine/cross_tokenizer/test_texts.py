"""What each candidate adds to a request's text, in the guide's tokens: the cases that are none of plain words."""

import pytest

from tests.engine.cross_tokenizer.pairs import ENGLISH, MIXED, bytes_bpe, id_of_end
from worker.engine.cross_tokenizer.retokenizing import Retokenizer
from worker.engine.cross_tokenizer.spelling import Spelling, complete
from worker.engine.cross_tokenizer.texts import Crossing, Texts

BASE = bytes_bpe(ENGLISH, 300)
GUIDE = bytes_bpe(MIXED, 330)
END = id_of_end(BASE)
END_OF_GUIDE = 7


def texts(end: int | None = END_OF_GUIDE, ends: frozenset[int] = frozenset({END})) -> Texts:
    spelling = Spelling.of(BASE, silent={END})
    return Texts(Crossing(spelling, Retokenizer(bytes_bpe(MIXED, 330)), ends, end))


def tokens_of_base(text: str) -> list[int]:
    return list(BASE.encode(text).ids)


def in_guide(text: str) -> tuple[int, ...]:
    return tuple(GUIDE.encode(text).ids)


def with_each(of: Texts, *candidates: int) -> list[tuple[int, ...]]:
    found = of.continued({"x": candidates})["x"]
    return [(*found.settled, *ending) for ending in found.endings]


def written(text: str, of: Texts) -> Texts:
    for token_id in tokens_of_base(text):
        of.append("x", token_id)
    return of


@pytest.mark.parametrize(("end", "added"), [(END_OF_GUIDE, (END_OF_GUIDE,)), (None, ())])
def test_the_end_of_an_answer_is_the_guides_end_or_nothing(end: int | None, added: tuple[int, ...]) -> None:
    of = written("the tea", texts(end))

    assert with_each(of, END) == [in_guide("the tea") + added]
    assert of.whole([*tokens_of_base("the tea"), END]) == in_guide("the tea") + added
    assert of.whole(tokens_of_base("the tea")) == in_guide("the tea")


def test_a_control_token_that_ends_nothing_adds_no_text() -> None:
    of = written("the tea", texts(ends=frozenset()))

    assert with_each(of, END) == [in_guide("the tea")]
    of.append("x", END)
    assert of.text("x").open.endswith("tea")


def test_half_a_character_is_judged_when_it_is_complete() -> None:
    first, second, third = tokens_of_base("日")
    of = written("a", texts())

    assert with_each(of, first) == [in_guide("a")]
    of.append("x", first)
    assert with_each(of, second, END) == [in_guide("a"), (*in_guide("a"), END_OF_GUIDE)]
    of.append("x", second)
    assert with_each(of, third, *tokens_of_base("b")) == [in_guide("a日"), in_guide("a\ufffdb")]


def test_bytes_that_no_character_can_hold_are_replaced() -> None:
    assert complete(b"a\xff\xe6\x97") == ("a\ufffd", b"\xe6\x97")


def test_requests_have_texts_of_their_own_until_they_are_forgotten() -> None:
    of = written("the tea", texts())
    of.append("y", tokens_of_base("it")[0])

    of.forget({"x", "unknown"})

    (token_id,) = tokens_of_base("t")
    assert with_each(of, token_id) == [in_guide("t")]
    assert of.text("y").open


def test_a_token_without_text_begins_none() -> None:
    spelling = Spelling({1: b" the", 2: b" tea"}, drops_first_space=True)
    of = Texts(Crossing(spelling, Retokenizer(bytes_bpe(MIXED, 330)), frozenset({END}), END_OF_GUIDE))

    for token_id in (5, 1, 2):  # the first spells nothing
        of.append("x", token_id)

    assert with_each(of, 5) == [in_guide("the tea")]
