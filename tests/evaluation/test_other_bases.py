"""The released code's way with other tokenizers, against its description; and where its section stands."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from domain.preferences import Method
from evaluation.real.other_bases.arms import RELEASED_STRENGTH, OtherBaseArm, Scores, compared
from evaluation.real.other_bases.first_sub_token import FirstSubTokens, first_sub_tokens, judge_by
from evaluation.real.other_bases.report import put_section
from evaluation.real.other_bases.study import NUM_PRINCIPLES, tasks_of
from evaluation.real.report import OTHER_BASES, write_report
from evaluation.real.suite import read_suite
from tests.engine.cross_tokenizer.pairs import CrossOracle, Pair, save_pair, whole_characters
from tests.engine.requests import decode
from worker.engine import Request, Stream, load_engine
from worker.engine.cross_tokenizer.texts import Texts


class FirstTokenOracle(CrossOracle):
    """How likely the guide's first token of each candidate is behind the text so far."""

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        self._tokenizers = [AutoTokenizer.from_pretrained(folder) for folder in (pair.base, pair.reference)]

    def likelihood(self, stream: Stream, token_ids: tuple[int, ...]) -> float:
        of_base, of_guide = self._tokenizers
        *before, candidate = token_ids
        written = whole_characters(b"".join(self._bytes_of(token_id) for token_id in before))
        text = of_guide.encode(written, add_special_tokens=False)
        first = of_guide.encode(of_base.decode([candidate]), add_special_tokens=False)[0]
        return self._run(stream, [*text, of_guide.eos_token_id if candidate == of_base.eos_token_id else first])

    def _bytes_of(self, token_id: int) -> bytes:
        return str(self._tokenizers[0].decode([token_id])).encode()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return save_pair(tmp_path_factory.mktemp("pair"))


def test_a_candidate_is_judged_by_its_first_token_where_that_is_asked_for(pair: Pair) -> None:
    engine = load_engine(pair.base, pair.policy, pair.reference, device="cpu", num_slots=2)
    of_base, of_guide = (AutoTokenizer.from_pretrained(folder) for folder in (pair.base, pair.reference))
    shown = tuple(of_guide.encode("You are the hat"))
    streams = (Stream("base", tuple(of_base.encode("the tea"))), Stream("policy", shown, reward=1.0))
    request = Request("x", streams, strength=3.0, k=5, max_tokens=6, return_rewards=True)
    whole = decode(engine, [request])["x"]

    judge_by(engine, lambda crossing: FirstSubTokens(crossing, first_sub_tokens(of_base, of_guide)))
    by_first = decode(engine, [request])["x"]
    judge_by(engine, Texts)

    expected = FirstTokenOracle(pair).answer(request)
    assert by_first.token_ids == expected.token_ids
    assert by_first.rewards == pytest.approx(expected.rewards, abs=1e-4)
    assert by_first.rewards != pytest.approx(whole.rewards, abs=1e-3)
    assert decode(engine, [request])["x"].rewards == whole.rewards


def test_the_released_way_takes_the_base_as_its_reference() -> None:
    arms = {arm.name: arm for arm in compared("system", 1.0)}
    (asked,) = tasks_of(read_suite(), 1)[:1]

    def encode(messages: Sequence[object]) -> tuple[int, ...]:
        return tuple(map(ord, str(messages)))

    streams = {name: arm.streams(asked, encode, encode) for name, arm in arms.items() if arm.method is Method.PAD}

    shares = {name: [(one.weights, one.reward) for one in of_arm] for name, of_arm in streams.items()}
    assert shares["first sub-token, as released"] == [("base", -1.0), ("policy", 1.0)]
    assert shares["pad"] == [("base", 0.0), ("policy", 1.0), ("reference", -1.0)] == shares["first sub-token"]
    released, pad = arms["first sub-token, as released"], arms["pad"]
    assert released.strength == RELEASED_STRENGTH
    assert isinstance(released, OtherBaseArm)
    assert isinstance(pad, OtherBaseArm)
    assert (released.scores, pad.scores) == (Scores.FIRST_SUB_TOKENS, Scores.TEXTS)


def test_who_stops_early_has_asked_for_all_principles_alike() -> None:
    suite = read_suite()

    few, many = tasks_of(suite, 2), tasks_of(suite, 8)

    assert len(many) == 8 * NUM_PRINCIPLES
    assert many[: len(few)] == few
    assert len({asked.principle.name for asked in few[:NUM_PRINCIPLES]}) == NUM_PRINCIPLES


def test_the_section_is_put_at_the_end_and_stays_when_the_report_is_written_again(tmp_path: Path) -> None:
    out = tmp_path / "real-models.md"
    write_report(out, read_suite(), [], 48, "Then.")

    put_section(out, [], "First.")
    put_section(out, [], "Second.")
    write_report(out, read_suite(), [], 48, "Now.")

    report = out.read_text()
    assert "Now." in report
    assert report.endswith(f"\n{OTHER_BASES}\n\nSecond.\n")
    assert "First." not in report
