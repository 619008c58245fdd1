"""What the numbers say of the goals."""

from collections.abc import Mapping, Sequence

from domain.preferences import Method
from evaluation.claims import Claim, Verdict
from evaluation.real.arms import Arm
from evaluation.real.judged import Judged, Scale, summarise
from evaluation.real.results import ModelResults
from evaluation.real.suite import JudgedPrinciple
from evaluation.real.verdicts import judge
from tests.real.judged_texts import judged, principle

PROMPTS = "abcdef"
PROMPTED = Arm("prompt only, system", Method.PROMPT)
CHEERFUL = principle("cheerful")
LOVING = principle("loving")
STERN = principle("stern", "formality")


def _texts(name: str, numbers: Mapping[JudgedPrinciple, float], kl: float = 0.1) -> list[Judged]:
    """One for each prompt and principle, with little noise, so that no spread is 0."""
    arm = Arm(name, Method.CONTRAST)
    return [
        judged(prompt, number + place / 100, asked=asked, arm=arm, kl=kl)
        for asked, number in numbers.items()
        for place, prompt in enumerate(PROMPTS)
    ]


def _claims(guided: Mapping[str, Sequence[Judged]], best: str) -> dict[str, Claim]:
    asked = {text.text.asked.principle: 0.0 for text in guided[best]}
    prompted = _texts(PROMPTED.name, asked)
    scale = Scale.of([judged(prompt, 0.0) for prompt in PROMPTS], prompted)
    texts = {PROMPTED.name: tuple(prompted), **{name: tuple(of_arm) for name, of_arm in guided.items()}}
    summaries = tuple(summarise(of_arm, prompted, scale) for of_arm in texts.values())
    results = ModelResults("model", (), PROMPTED.name, best, scale, texts, summaries)
    return {claim.text: claim for claim in judge(results)}


def _verdict(claims: Mapping[str, Claim], part: str) -> Verdict:
    return next(claim.verdict for text, claim in claims.items() if part in text)


def test_a_principle_that_asks_the_same_of_a_judge_is_no_rival() -> None:
    siblings = _claims({"guided": _texts("guided", {CHEERFUL: 1.0, LOVING: 2.0})}, "guided")
    rivals = _claims({"guided": _texts("guided", {CHEERFUL: 1.0, LOVING: 2.0, STERN: 1.5})}, "guided")

    assert _verdict(siblings, "diagonal") is Verdict.HOLDS
    assert _verdict(rivals, "diagonal") is Verdict.DOES_NOT_HOLD


def test_pad_beats_contrast_only_where_both_are_as_far_from_the_base() -> None:
    pad = _texts("pad", {CHEERFUL: 1.0}, kl=0.1)
    equal, nearer = (_texts("contrast, KL of pad", {CHEERFUL: 0.0}, kl) for kl in (0.09, 0.05))

    assert _verdict(_claims({"pad": pad, "contrast, KL of pad": equal}, "pad"), "seen in") is Verdict.HOLDS
    assert _verdict(_claims({"pad": pad, "contrast, KL of pad": nearer}, "pad"), "seen in") is Verdict.DOES_NOT_HOLD


def test_nothing_is_said_of_principles_that_nobody_asked_for() -> None:
    both = {name: _texts(name, {CHEERFUL: 1.0}) for name in ("pad", "contrast, KL of pad")}

    assert _verdict(_claims(both, "pad"), "never trained on") is Verdict.NOT_TESTED


def test_what_no_other_model_read_is_not_called_likely() -> None:
    claims = _claims({"guided": _texts("guided", {CHEERFUL: 1.0})}, "guided")

    assert _verdict(claims, "Perplexity") is Verdict.NOT_TESTED
