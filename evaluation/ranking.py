"""Policy accuracy: how often held-out pairs are ranked as their annotators ranked them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evaluation.bootstrap import Estimate, Sample, mean
from evaluation.methods import Arm
from evaluation.scoring import RankScores, Row
from evaluation.study import Study
from evaluation.suite import Suite
from worker.persrm.pairs import PreferencePair
from worker.texts.formats import Message, with_principles

SEVERAL = "several at once"


@dataclass(frozen=True)
class Ranking:
    """The shares of pairs whose chosen answer scores higher than the rejected one."""

    asked: str
    num_pairs: int
    by_reward: Estimate
    """By sum log pi_policy / pi_reference: the reward model's accuracy."""
    by_guided: Estimate
    """By the log-probability under the guided distribution: the policy accuracy."""
    by_base: Estimate
    """By the log-probability under the prompted base."""


def rank_pairs(study: Study, pairs: Sequence[PreferencePair], guided: Arm) -> list[Ranking]:
    """One row for each principle of the pairs, in the suite's order."""
    groups: dict[str, list[PreferencePair]] = {principle.name: [] for principle in study.suite.principles}
    for pair in pairs:
        asked = {_name(study.suite, wording) for wording in pair.principles}
        groups.setdefault(asked.pop() if len(asked) == 1 else SEVERAL, []).append(pair)
    return [_ranking(study, asked, of_asked, guided) for asked, of_asked in groups.items() if of_asked]


def _name(suite: Suite, wording: str) -> str:
    """The principle that is worded so; the wording itself, where the suite has none."""
    return next((principle.name for principle in suite.principles if principle.says(wording)), wording)


def _ranking(study: Study, asked: str, pairs: Sequence[PreferencePair], guided: Arm) -> Ranking:
    chosen = study.scorer.rank([_row(study, pair, pair.chosen) for pair in pairs], guided.strength)
    rejected = study.scorer.rank([_row(study, pair, pair.rejected) for pair in pairs], guided.strength)
    clusters = [pair.prompt for pair in pairs]

    def accuracy(score: Callable[[RankScores], float]) -> Estimate:
        right = [float(score(better) > score(worse)) for better, worse in zip(chosen, rejected, strict=True)]
        return mean(Sample(right, clusters))

    return Ranking(
        asked,
        len(pairs),
        by_reward=accuracy(lambda scores: scores.reward),
        by_guided=accuracy(lambda scores: scores.guided),
        by_base=accuracy(lambda scores: scores.base),
    )


def _row(study: Study, pair: PreferencePair, answer: str) -> Row:
    messages = with_principles([Message(role="user", content=pair.prompt)], pair.principles, study.writer.format)
    completion = study.writer.tokenizer.encode(answer, add_special_tokens=False)
    return Row(study.writer.encode(messages), (*completion, min(study.writer.engine.eos_token_ids)))
