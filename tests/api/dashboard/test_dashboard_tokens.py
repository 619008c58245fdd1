"""How a token's reward is shown, and in which words two versions of a profile differ."""

import json

from starlette.datastructures import FormData

from api.dashboard.profile_forms import body_as_sent, differences, form_as_sent, form_of_body
from api.dashboard.token_view import BOUNDS, Shown, shade, token_view, visible
from api.profiles.preview_schemas import TokenRewardsOut


def a_token(text: str, *, token_id: int = 1, reward: float = 0.3, strength: float = 1.0) -> dict[str, object]:
    candidates = [
        {"token_id": 1, "text": "tea", "base_log_probability": -0.1, "reward": 0, "guided_log_probability": -2},
        {"token_id": 2, "text": "</b>", "base_log_probability": -2, "reward": 1, "guided_log_probability": -0.1},
    ]
    numbers = {"log_probability": -1, "reward": reward, "strength": strength, "kl": 0.2, "is_changed": True}
    return {"token_id": token_id, "text": text, "candidates": candidates, **numbers}


def shown(*tokens: dict[str, object]) -> list[Shown]:
    found = {"strength": 1.0, "max_kl": 0.1, "principles": [], "tokens": [*tokens]}
    return list(token_view(TokenRewardsOut.model_validate(found)).tokens)


def test_a_shade_says_sign_and_size_and_is_the_same_in_every_text() -> None:
    assert [shade(value) for value in (0.0, 0.049, *BOUNDS)] == [0, 0, 1, 2, 3, 4, 5]
    assert [shade(-value) for value in BOUNDS] == [-1, -2, -3, -4, -5]


def test_a_token_says_what_guidance_chose_it_instead_of_and_where_the_budget_cut() -> None:
    taken, other, outside = shown(a_token("x", token_id=2, strength=0.4), a_token("tea"), a_token("y", token_id=9))

    assert (taken.instead_of, taken.is_cut) == ("tea", True)
    assert taken.label == "x, reward +0.30, instead of tea, strength cut to 0.40"
    assert (other.is_changed, other.is_cut) == (False, False)
    assert (outside.base, outside.guided) == (None, None)
    rows = json.loads(taken.details)["rows"]
    assert rows[1] == ["</b>", 13.5, 1.0, 90.5, 1]


def test_spaces_and_line_breaks_can_be_seen() -> None:
    assert [visible(text) for text in (" a", "\n", "", "  ", "a b ")] == ["␣a", "↵", "∅", "␣␣", "a b␣"]


def test_a_form_is_the_profile_that_it_shows() -> None:
    body = {
        "principles": [{"text": "formal", "weight": 0.5}],
        "method": "mixture",
        "strength": 0.0,
        "max_kl": 0.1,
        "examples": ["Dear\nyou"],
        "attributes": {"name": "Ada"},
        "tags": ["a", "b"],
        "metadata": {"kept": "yes"},
        "learn": True,
    }
    form = form_of_body(body)
    sent = FormData(
        [
            *(pair for row in form.principles for pair in (("principle", row.text), ("weight", row.weight))),
            *(("example", text.replace("\n", "\r\n")) for text in form.examples),
            *(pair for name, value in form.attributes for pair in (("attribute", name), ("value", value))),
            *((name, getattr(form, name)) for name in ("strength", "max_kl", "method", "tags")),
            ("learn", "on"),
        ]
    )

    assert body_as_sent(sent, body["metadata"]).canonical() == body
    assert form_as_sent(sent) == form


def test_two_versions_differ_in_what_somebody_changed() -> None:
    before = {"principles": [{"text": "a", "weight": 1.0}, {"text": "b", "weight": 1.0}], "strength": None, "tags": []}
    after = {"principles": [{"text": "b", "weight": 0.5}], "strength": 0.0, "learn": True, "examples": ["x"]}

    found = {each.name: (each.before, each.after) for each in differences(before, after)}

    assert found == {
        "\N{LEFT DOUBLE QUOTATION MARK}a\N{RIGHT DOUBLE QUOTATION MARK}": ("1", "\N{EN DASH}"),
        "\N{LEFT DOUBLE QUOTATION MARK}b\N{RIGHT DOUBLE QUOTATION MARK}": ("1", "0.5"),
        "Strength": ("\N{EN DASH}", "0"),
        "Learning": ("\N{EN DASH}", "yes"),
        "Example": ("\N{EN DASH}", "x"),
    }
