"""The preference hash: equal for what cannot change a token, different for everything else."""

import math

import pytest

from domain.preferences import EffectivePreference, Method, Principle, canonical_text, digest, effective_preference

BOTH = (Principle("humor"), Principle("be brief", 0.5))


@pytest.mark.parametrize(
    "principles",
    [
        tuple(reversed(BOTH)),
        (Principle("  humor\n"), Principle("be\t brief", 0.5)),
        (*BOTH, Principle("ignored", 0.0)),
        (Principle("humor", 3.0), Principle("be brief", 0.1)),
        (Principle("humor"), Principle("humor"), Principle("be brief")),
    ],
)
def test_what_cannot_change_a_token_does_not_change_the_hash(principles: tuple[Principle, ...]) -> None:
    assert effective_preference(Method.PAD, 1, principles).hash == effective_preference(Method.PAD, 1.0, BOTH).hash


def test_weights_count_in_a_mixture_and_equal_principles_add_up() -> None:
    one = effective_preference(Method.MIXTURE, 1.0, (Principle("humor", 2.0),))
    halves = effective_preference(Method.MIXTURE, 1.0, (Principle("humor"), Principle(" humor")))
    other = effective_preference(Method.MIXTURE, 1.0, (Principle("humor"),))

    assert one.hash == halves.hash != other.hash


def test_method_strength_and_principles_make_a_difference() -> None:
    preferences = [
        effective_preference(Method.PAD, 1.0, BOTH),
        effective_preference(Method.PAD, 2.0, BOTH),
        effective_preference(Method.CONTRAST, 1.0, BOTH),
        effective_preference(Method.PROMPT, 1.0, BOTH),
        effective_preference(Method.PAD, 1.0, BOTH[:1]),
        effective_preference(Method.NONE, 1.0, BOTH),
    ]

    assert len({preference.hash for preference in preferences}) == len(preferences)


def test_strength_does_not_count_where_it_does_nothing() -> None:
    assert effective_preference(Method.PROMPT, 1.0, BOTH) == effective_preference(Method.PROMPT, 2.0, BOTH)


@pytest.mark.parametrize("method", list(Method))
def test_without_principles_nothing_steers(method: Method) -> None:
    assert effective_preference(method, 2.0, ()) == EffectivePreference(Method.NONE, 0.0, ())


@pytest.mark.parametrize("method", list(Method))
def test_a_stored_body_stands_for_the_preference_it_was_made_of(method: Method) -> None:
    preference = effective_preference(method, 1.5, BOTH)

    assert EffectivePreference.from_body(preference.body) == preference


def test_texts_in_other_unicode_forms_are_one_text() -> None:
    assert canonical_text("Cafe\u0301  noir ") == canonical_text("Caf\u00e9 noir") == "Caf\u00e9 noir"


def test_a_digest_does_not_depend_on_the_order_of_keys_and_refuses_nan() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    with pytest.raises(ValueError, match="JSON"):
        digest({"a": math.nan})


def test_older_preferences_keep_their_hashes() -> None:
    given = effective_preference(Method.CONTRAST, 1.0, (Principle("humor"),))

    assert given.body == {"method": "contrast", "strength": 1.0, "principles": [["humor", 1.0]]}


def test_budget_and_examples_make_a_difference_and_survive_storage() -> None:
    plain = effective_preference(Method.CONTRAST, 1.0, BOTH)
    bounded = effective_preference(Method.CONTRAST, 1.0, BOTH, 0.5)
    shown = effective_preference(Method.CONTRAST, 1.0, BOTH, 0.5, ["b", "a"])

    assert len({plain.hash, bounded.hash, shown.hash}) == 3
    assert [EffectivePreference.from_body(each.body) for each in (plain, bounded, shown)] == [plain, bounded, shown]


@pytest.mark.parametrize(("method", "max_kl"), [(Method.PROMPT, 0.5), (Method.NONE, 0.5), (Method.PAD, 100.0)])
def test_a_budget_that_cannot_bind_is_none(method: Method, max_kl: float) -> None:
    assert effective_preference(method, 1.0, BOTH, max_kl) == effective_preference(method, 1.0, BOTH)


def test_examples_keep_their_order_and_their_lines_and_are_shown_once() -> None:
    given = effective_preference(Method.PROMPT, 1.0, [], examples=["b\n\nc ", "a", "b\n\nc", "  "])

    assert given.examples == ("b\n\nc", "a")


@pytest.mark.parametrize("method", [Method.PAD, Method.MIXTURE])
def test_where_there_is_nothing_to_weigh_examples_are_shown(method: Method) -> None:
    assert effective_preference(method, 1.0, [], 0.5, ["a"]) == effective_preference(Method.PROMPT, 0, [], None, ["a"])
