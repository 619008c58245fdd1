"""docs/real-models.md: what was measured, goals and verdicts, tables, texts. Numbers in, Markdown out."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from evaluation.real import arms, verdicts
from evaluation.real.judged import Judged, Summary
from evaluation.real.results import ModelResults
from evaluation.real.suite import RealSuite
from evaluation.suite import Split
from evaluation.tables import claims_table, table

NUM_TEXTS = 10
SEED = 10
OTHER_BASES = "## One PersRM, other bases"
"""The last section, which `evaluation.real.other_bases` writes: it is left as it is here."""
HEAD = """# Evaluation on real models

What guidance does to models that nobody here trained, told by judges that nobody here wrote. Made by `make eval-real`;
the code is `evaluation/real`, the prompts and principles `evaluation/real/data`. Every method is measured through
`worker.texts.methods`, which serves it.

{prompts} prompts (service messages, marketing, explanations, summaries), {validation} of them for choosing settings,
the others for what is reported; {principles} principles in two or more wordings each, {unseen} of which no PersRM was
trained on. Answers are greedy, of at most {max_tokens} tokens. Intervals are 95 % bootstrap intervals over prompts.

**Effect**: how far the number of a principle's judge moves in the direction that was asked for, from the unguided text
of the same prompt, in standard deviations of that judge over the prompt-only texts; cut at 3, so that a judge which
hardly varies (a count of pirate words) does not outweigh the others. **Wins**: the share of tasks in which the judge
finds the principle kept further than in the prompt-only text; ties count half, so 50 % is no difference. **Echo**:
texts that share four words in a row with what the model was told of the preference, and not with their prompt.
**Repetition**: runs of four words that the text has had before. **Perplexity**: of the texts as answers to the plain
prompt under *another* model (of each principle's first texts; on validation prompts under the model itself).
**Topic**: cosine of text and prompt. **KL**: of the guided from the base distribution over the candidates, per token.

**Uncalibrated default** is what a new user gets who names the model and nothing else.
"""


def write_report(
    out: Path, suite: RealSuite, studied: Sequence[ModelResults], max_tokens: int, conditions: str
) -> None:
    """The report, and beside it in a folder of its name its texts and its numbers."""
    folder = out.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    sections = [_head(suite, max_tokens), conditions, *(_model(results, folder.name) for results in studied)]
    _, heading, kept = out.read_text(encoding="utf-8").partition(f"\n{OTHER_BASES}\n") if out.exists() else ("",) * 3
    out.write_text("\n\n".join(sections) + "\n" + heading + kept, encoding="utf-8")
    for results in studied:
        (folder / f"texts-{results.name}.md").write_text(texts_page(results), encoding="utf-8")
    numbers = {results.name: _numbers(results) for results in studied}
    (folder / "numbers.json").write_text(json.dumps(numbers, indent=1, default=str) + "\n", encoding="utf-8")


def _head(suite: RealSuite, max_tokens: int) -> str:
    return HEAD.format(
        prompts=len(suite.prompts),
        validation=sum(prompt.split is Split.VALIDATION for prompt in suite.prompts),
        principles=len(suite.principles),
        unseen=sum(not principle.seen for principle in suite.principles),
        max_tokens=max_tokens,
    ).rstrip()


def _model(results: ModelResults, folder: str) -> str:
    arm = results.best
    parts = [
        f"## {results.name}",
        _chosen(results, folder),
        "### Goals",
        claims_table(verdicts.judge(results)),
        "### Methods and controls",
        "Effects of all principles together; differences are to prompt-only in its best format, for the same tasks.",
        summaries_table(results.summaries),
        *_best_of(results),
        "### Each principle",
        principles_table(results),
        f"### What else moves, under `{arm}`",
        "Rows: what was asked for. Columns: how far texts keep each principle. The largest of each column is bold.",
        confusion_table(results),
        "### Settings on validation prompts",
        summaries_table(results.validation),
        *results.notes,
    ]
    return "\n\n".join(parts)


def _chosen(results: ModelResults, folder: str) -> str:
    return (
        f"Best prompt-only: `{results.prompted}`. Best method, chosen on validation prompts: `{results.best}`, "
        f"{_summary(results, results.best).settings}. [Texts]({folder}/texts-{results.name}.md)."
    )


def _best_of(results: ModelResults) -> Iterator[str]:
    if results.num_samples is not None:
        yield (
            f"Best of n: {results.num_samples} answers at temperature 0.7, as many as are written in the time of one "
            "guided text (rounded up); the one is kept whose principle is the likeliest under the model itself."
        )


def summaries_table(summaries: Sequence[Summary]) -> str:
    """A row for each arm."""
    header = (
        *(
            "method",
            "settings",
            "texts",
            "effect",
            "over prompt-only",
            "wins over it, %",
            "KL",
            "topic",
            "change of topic",
            "repetition, %",
        ),
        *("times prompt-only's", "perplexity ratio", "echo, %", "distinct, %", "offence, %", "words", "s a text"),
    )
    return table(header, [_row(summary) for summary in summaries])


def _row(summary: Summary) -> list[str]:
    return [
        summary.name,
        summary.settings,
        str(summary.num_texts),
        verdicts.spread(summary.effect),
        verdicts.spread(summary.over_prompted),
        verdicts.share(summary.wins).replace(" %", ""),
        "" if summary.kl is None else f"{summary.kl:.3f}",
        f"{summary.topic.mean:.3f}",
        verdicts.spread(summary.topic_change, 3),
        f"{100 * summary.repetition.mean:.1f}",
        verdicts.times(summary.repetition_ratio),
        "" if summary.perplexity_ratio is None else verdicts.times(summary.perplexity_ratio),
        f"{100 * summary.echoes.mean:.1f}",
        f"{100 * summary.distinct:.0f}",
        f"{100 * summary.profanity.mean:.1f}",
        f"{summary.words:.0f}",
        f"{summary.seconds_per_text:.2f}",
    ]


def principles_table(results: ModelResults) -> str:
    """Effects by principle and arm."""
    names = [name for name in results.texts if name != arms.UNGUIDED.name]
    levels = verdicts.levels(results.texts, results.scale)
    known = verdicts.principles(results.texts[results.prompted])
    rows = [
        [
            f"{name}{'' if known[name].seen else ' (unseen)'}",
            f"{known[name].judge} {known[name].direction}",
            *(f"{of_arm[arm]:+.2f}" if arm in of_arm else "" for arm in names),
        ]
        for name, of_arm in levels.items()
    ]
    return table(("principle", "judge", *names), rows)


def confusion_table(results: ModelResults) -> str:
    """What was asked for against what moved."""
    matrix = verdicts.confusion(results.texts[results.best], results.scale)
    largest = {name: max(matrix, key=lambda asked: matrix[asked][name]) for name in matrix}
    rows = [
        [asked, *(f"**{value:+.1f}**" if largest[name] == asked else f"{value:+.1f}" for name, value in row.items())]
        for asked, row in matrix.items()
    ]
    return table(("asked for", *matrix), rows)


def texts_page(results: ModelResults) -> str:
    """Ten tasks, drawn by a seed, as every arm wrote them; then each arm's least likely text."""
    lines = [f"# Texts of {results.name}", f"Ten tasks, drawn by seed {SEED} and not by what was written."]
    fewest = min(results.texts.values(), key=len)
    drawn = random.Random(SEED).sample(range(len(fewest)), min(NUM_TEXTS, len(fewest)))
    for place in drawn:
        task = fewest[place]
        asked = task.text.asked
        lines += [f"## {asked.principle.name}: “{asked.wording}”", f"> {asked.prompt.prompt}"]
        for arm, texts in results.texts.items():
            same = next(
                text for text in texts if text.prompt == task.prompt and text.text.asked.principle == asked.principle
            )
            lines.append(f"**{arm}**: {_shown(same)}")
    lines.append("## The text of each method that the other model finds least likely")
    for arm, texts in results.texts.items():
        worst = max(texts, key=lambda text: text.surprise or 0.0)
        lines.append(f"**{arm}**, “{worst.text.asked.wording}”, {worst.prompt}: {_shown(worst)}")
    return "\n\n".join(lines) + "\n"


def _shown(text: Judged) -> str:
    return " ".join(text.text.text.split()).replace("<", "&lt;").replace("*", r"\*").replace("|", r"\|") or "(nothing)"


def _numbers(results: ModelResults) -> dict[str, object]:
    return {
        "prompted": results.prompted,
        "best": results.best,
        "num_samples": results.num_samples,
        "arms": [asdict(summary) for summary in results.summaries],
        "validation": [asdict(summary) for summary in results.validation],
        "principles": verdicts.levels(results.texts, results.scale),
        "goals": [asdict(claim) for claim in verdicts.judge(results)],
    }


def _summary(results: ModelResults, name: str) -> Summary:
    return next(summary for summary in results.summaries if summary.name == name)
