"""Whole texts beside first sub-tokens in languages whose words the guide cuts otherwise than the base.

    python -m evaluation.real.other_bases.by_language --base FOLDER --persrm examples/real/policy --trained-on FOLDER

Judges of style read English, so each text is held against what guidance is to raise: its log-ratio under the PersRM
and its reference, as a whole and in their own tokens, beside what that has cost in nats of KL.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from evaluation.bootstrap import Sample, difference
from evaluation.real.arms import Arm
from evaluation.real.judged import mean_kl
from evaluation.real.other_bases.arms import compared
from evaluation.real.other_bases.languages import ASKED_IN
from evaluation.real.other_bases.studio import Models, OtherBaseStudio
from evaluation.real.suite import Asked, RealPrompt, read_suite
from evaluation.real.verdicts import spread
from evaluation.real.writing import Notebook, Text
from evaluation.suite import Split
from evaluation.tables import table
from evaluation.writing import NotWrittenError
from worker.engine import Score, ScoreRequest

NUM_PRINCIPLES = 4
STRENGTH = 1.0
HEADER = ("", "texts", "the same", "guide's tokens", "whole texts", "first sub-tokens", "difference", "KL of each")


def main() -> None:
    """Write, score, and print a row for each language."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="the folder of a model")
    parser.add_argument("--persrm", type=Path, required=True, help="an adapter")
    parser.add_argument("--trained-on", type=Path, required=True, help="the folder of the model that it lies on")
    parser.add_argument("--languages", nargs="+", choices=ASKED_IN, default=list(ASKED_IN))
    parser.add_argument("--max-tokens", type=int, default=32, help="of each text")
    parser.add_argument("--notebook", type=Path, required=True, help="where texts are kept between runs")
    options = parser.parse_args()
    models = Models(options.base, options.persrm, options.trained_on)
    studio = OtherBaseStudio(models, Notebook(options.notebook), options.max_tokens)
    of_guide = AutoTokenizer.from_pretrained(options.trained_on)
    rows = [[language, *_row(studio, of_guide, language)] for language in options.languages]
    sys.stdout.write(table(HEADER, rows) + "\n")


def _row(studio: OtherBaseStudio, of_guide: PreTrainedTokenizerBase, language: str) -> Iterator[str]:
    tasks = tasks_in(language)
    _, _, whole, first, _ = compared("system", STRENGTH)
    ours, theirs = ([*studio.write(arm, tasks)] for arm in (whole, first))
    rewards = [_rewards(studio, of_guide, arm, texts) for arm, texts in ((whole, ours), (first, theirs))]
    samples = [Sample(each, [asked.prompt.prompt for asked in tasks]) for each in rewards]
    lengths = [len(_ids(of_guide, text)) / max(1, text.written.num_tokens) for text in ours]
    yield str(len(tasks))
    yield str(sum(mine.text == other.text for mine, other in zip(ours, theirs, strict=True)))
    yield f"{sum(lengths) / len(lengths):.1f}"
    yield from (f"{sum(each) / len(each):+.2f}" for each in rewards)
    yield spread(difference(*samples))
    yield " / ".join(f"{mean_kl(texts) or 0.0:.3f}" for texts in (ours, theirs))


def tasks_in(language: str) -> list[Asked]:
    """Every prompt of the language with each of the first principles, in their first English wordings."""
    principles = read_suite().principles[:NUM_PRINCIPLES]
    return [
        Asked(RealPrompt(prompt=prompt, kind=language, split=Split.TEST), principle, principle.wordings[0], "")
        for prompt in ASKED_IN[language]
        for principle in principles
    ]


def _rewards(
    studio: OtherBaseStudio, of_guide: PreTrainedTokenizerBase, arm: Arm, texts: Sequence[Text]
) -> list[float]:
    """`log pi(text | prompt) - log ref(text | prompt)` of each text, in nats."""
    requests = [
        ScoreRequest(
            request_id=number,
            weights=stream.weights,
            prompt_ids=stream.prompt,
            completion_ids=_ids(of_guide, text),
        )
        for number, text in enumerate(texts)
        for stream in studio.streams(arm, text.asked)[1:]
    ]
    sums = []
    for outcome in studio.engine.score(requests):
        if not isinstance(outcome, Score):
            raise NotWrittenError(outcome.message)
        sums.append(sum(outcome.log_probabilities))
    return [policy - reference for policy, reference in zip(sums[::2], sums[1::2], strict=True)]


def _ids(of_guide: PreTrainedTokenizerBase, text: Text) -> tuple[int, ...]:
    return tuple(of_guide.encode(text.text or " ", add_special_tokens=False, split_special_tokens=True))


if __name__ == "__main__":
    main()
