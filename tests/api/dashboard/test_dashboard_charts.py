"""Charts as numbers: where a calibration's settings stand, and on which marks their axes are read."""

import math

import pytest

from api.dashboard.charts import HEIGHT, WIDTH, intervals, scatter
from api.http.dependencies import Scope
from domain.preferences import Method
from tests.api.conftest import Api
from tests.api.dashboard.test_dashboard import Visitor
from tests.builders import a_description

TRIED = [("prompt, pad", 0.0, 1.0), ("pad, pad, strength 1", 0.04, 3.3), ("contrast, pad, strength 2", 1.5, 5.2)]


def test_settings_stand_by_the_square_root_of_what_they_move_on_axes_with_marks() -> None:
    plot = scatter(TRIED, "pad, pad, strength 1")

    first, second, third = plot.points
    assert (second.x - first.x) / (third.x - first.x) == pytest.approx(math.sqrt(0.04 / 1.5))
    assert [point.is_chosen for point in plot.points] == [False, True, False]
    assert plot.kinds == ["contrast", "pad", "prompt"]
    assert [mark for _, mark in plot.across] == [0.0, 0.05, 0.1, 0.2, 0.5, 1]
    assert [mark for _, mark in plot.up] == [0, 1, 2, 3, 4, 5]
    places = [(point.x, point.y) for point in plot.points] + [(x, 0) for x, _ in plot.across]
    assert all(0 <= x <= WIDTH and 0 <= y <= 2 * HEIGHT for x, y in places)


@pytest.mark.parametrize("tried", [[], [("prompt, pad", 0.0, 0.0)], [("pad, pad, strength 1", 1e-9, -3.0)]])
def test_a_plot_of_next_to_nothing_is_one(tried: list[tuple[str, float, float]]) -> None:
    assert len(scatter(tried, "").points) == len(tried)


def test_a_weight_of_which_nothing_is_known_says_so_and_leaves_the_others_room() -> None:
    unknown, known = intervals(["formal", "brief"], [1.0, 0.5], [9.0, 0.1])

    assert (unknown.is_known, known.is_known) == (False, True)
    assert unknown.high == WIDTH
    assert known.high - known.low == pytest.approx(WIDTH * 0.4 / 4)


def test_a_calibrated_model_shows_what_was_tried_and_which_was_chosen(api: Api) -> None:
    trials = [{"setting": name, "kl": kl, "log_odds": gain, "perplexity_ratio": 1.0} for name, kl, gain in TRIED]
    card = {"chosen": {"by": "padserve calibrate", "reason": "<i>the gentlest", "trials": trials}}
    api.serve("calibrated", a_description("c" * 64, card=card, default_method=Method.PAD, format="pad", strength=1.0))

    html = Visitor(api, api.key(*Scope)).client.get("/strength?model=calibrated").text

    assert html.count("<title>") == 1 + len(TRIED)
    assert html.count(">chosen<") == 2
    assert "&lt;i&gt;the gentlest" in html
