"""The goals that were set before anything was measured, and what the numbers say of them. Pure functions of results."""

from collections.abc import Iterator, Mapping, Sequence

from evaluation.bootstrap import Estimate, difference, mean
from evaluation.claims import Claim, Verdict
from evaluation.real.judged import Judged, Scale, Summary, sample, wins
from evaluation.real.results import ModelResults
from evaluation.real.suite import JudgedPrinciple

MAX_TOPIC_LOSS = 0.02
MAX_RATIO = 1.2
MAX_ECHO = 0.005
EQUAL_KL = 0.15
"""Mean KLs that differ by no more than this share are called equal."""


def judge(results: ModelResults) -> tuple[Claim, ...]:
    """A row for each goal."""
    return (*_effects(results), *_price(results), *_pad(results))


def gains(results: ModelResults, arm: str, over: str) -> dict[str, Estimate]:
    """By principle: how much further one arm's texts keep it than the other's, for the tasks that both have."""
    ours, theirs = in_common(results.texts[arm], results.texts[over])
    return {
        name: difference(sample(_of(ours, name), results.scale.effect), sample(_of(theirs, name), results.scale.effect))
        for name in principles(ours)
    }


def confusion(texts: Sequence[Judged], scale: Scale) -> dict[str, dict[str, float]]:
    """How far texts that were asked for one principle (row) keep each (column), in standard deviations."""
    known = principles(texts)
    return {
        asked: {
            name: sum(scale.moved(text, principle) for text in _of(texts, asked)) / len(_of(texts, asked))
            for name, principle in known.items()
        }
        for asked in known
    }


def principles(texts: Sequence[Judged]) -> dict[str, JudgedPrinciple]:
    """The principles that these texts were asked for, by name."""
    return {text.text.asked.principle.name: text.text.asked.principle for text in texts}


def in_common(ours: Sequence[Judged], theirs: Sequence[Judged]) -> tuple[list[Judged], list[Judged]]:
    """Of both, the texts whose task (prompt and principle) the other has, too."""
    tasks = {text.task for text in ours} & {text.task for text in theirs}
    return [text for text in ours if text.task in tasks], [text for text in theirs if text.task in tasks]


def _of(texts: Sequence[Judged], name: str) -> list[Judged]:
    return [text for text in texts if text.text.asked.principle.name == name]


def _effects(results: ModelResults) -> Iterator[Claim]:
    over = gains(results, results.best, results.prompted)
    missed = [name for name, gain in over.items() if not gain.is_above_zero]
    because = "; ".join(f"{name} {spread(gain)}" for name, gain in over.items())
    yield _claim(
        f"Every principle's own judge moves the right way beyond {results.prompted}, interval above 0",
        not missed,
        f"{len(over) - len(missed)} of {len(over)} do"
        + (f"; not {', '.join(missed)}" if missed else "")
        + f". {because}.",
    )
    matrix = confusion(results.texts[results.best], results.scale)
    wrong = {name: winner for name in matrix if (winner := _furthest(results, matrix, name)) != name}
    yield _claim(
        "Each principle's judge moves furthest where that principle was asked for (the confusion matrix's diagonal; "
        "principles that ask the same of one judge are no rivals)",
        not wrong,
        f"{len(matrix) - len(wrong)} of {len(matrix)} do"
        + "".join(f"; {name}: further under {winner}" for name, winner in wrong.items())
        + ".",
    )
    for control in ("wrong principle", "random adapter", "best of n"):
        if control in results.texts:
            ours, theirs = in_common(results.texts[results.best], results.texts[control])
            gain = difference(sample(ours, results.scale.effect), sample(theirs, results.scale.effect))
            yield _claim(
                f"{results.best} moves texts further than the control: {control}", gain.is_above_zero, spread(gain)
            )


def _furthest(results: ModelResults, matrix: Mapping[str, Mapping[str, float]], name: str) -> str:
    """Under which of a principle's rivals, or itself, its judge moves furthest."""
    known = principles(results.texts[results.best])
    asks = (known[name].judge, known[name].direction)
    rivals = [other for other in matrix if other == name or (known[other].judge, known[other].direction) != asks]
    return max(rivals, key=lambda asked: matrix[asked][name])


def _price(results: ModelResults) -> Iterator[Claim]:
    summary = _summary(results, results.best)
    change, echoes = summary.topic_change, summary.echoes
    yield _claim(
        f"Topic similarity within {MAX_TOPIC_LOSS} of prompt-only", change.low >= -MAX_TOPIC_LOSS, spread(change, 3)
    )
    for what, estimate in (("Repetition", summary.repetition_ratio), ("Perplexity", summary.perplexity_ratio)):
        claim = f"{what} at most {MAX_RATIO} times prompt-only's"
        if estimate is None:
            yield Claim(claim, Verdict.NOT_TESTED, "No other model read these texts.")
        else:
            yield _claim(claim, estimate.high <= MAX_RATIO, times(estimate))
    yield _claim(
        f"Texts that repeat the format or the principle: below {100 * MAX_ECHO:g} %",
        echoes.mean < MAX_ECHO,
        f"{100 * echoes.mean:.2f} % ({100 * echoes.low:.2f} to {100 * echoes.high:.2f})",
    )


def _pad(results: ModelResults) -> Iterator[Claim]:
    text = "`pad` with the PersRM beats `contrast` at equal KL"
    matched = results.texts.get("contrast, KL of pad")
    if matched is None:
        yield Claim(text, Verdict.NOT_TESTED, "No PersRM was given for this model.")
        return
    kls = [_summary(results, name).kl or 0.0 for name in ("pad", "contrast, KL of pad")]
    equal = abs(kls[0] - kls[1]) <= EQUAL_KL * max(kls)
    ours, theirs = in_common(results.texts["pad"], matched)
    for seen, group in ((True, "principles seen in training"), (False, "principles never trained on")):
        pair = [[text for text in texts if text.text.asked.principle.seen is seen] for texts in (ours, theirs)]
        if not all(pair):
            yield Claim(f"{text}, {group}", Verdict.NOT_TESTED, "No such principle was asked for.")
            continue
        gain = difference(*(sample(texts, results.scale.effect) for texts in pair))
        won = mean(wins(*pair))
        because = f"{spread(gain)}; wins {share(won)}; KL {kls[0]:.3f} and {kls[1]:.3f} nats a token"
        yield _claim(f"{text}, {group}", gain.is_above_zero and equal, because + ("" if equal else ", not equal"))


def _summary(results: ModelResults, name: str) -> Summary:
    return next(summary for summary in results.summaries if summary.name == name)


def _claim(text: str, holds: bool, because: str) -> Claim:  # noqa: FBT001
    return Claim(text, Verdict.HOLDS if holds else Verdict.DOES_NOT_HOLD, because)


def spread(estimate: Estimate, digits: int = 2) -> str:
    """A difference with its interval."""
    return f"{estimate.mean:+.{digits}f} ({estimate.low:+.{digits}f} to {estimate.high:+.{digits}f})"


def share(estimate: Estimate) -> str:
    """In percent."""
    return f"{100 * estimate.mean:.0f} % ({100 * estimate.low:.0f} to {100 * estimate.high:.0f})"


def times(estimate: Estimate) -> str:
    """A ratio with its interval."""
    return f"{estimate.mean:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def levels(results: Mapping[str, tuple[Judged, ...]], scale: Scale) -> dict[str, dict[str, float]]:
    """By principle, by arm: how far the texts keep it beyond the unguided ones."""
    names = principles(next(iter(results.values())))
    return {
        name: {
            arm: sum(map(scale.effect, own)) / len(own) for arm, texts in results.items() if (own := _of(texts, name))
        }
        for name in names
    }
