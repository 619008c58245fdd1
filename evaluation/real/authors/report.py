"""The section of docs/real-models.md on examples: numbers, texts and the verdict that they support. Markdown out."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence

from evaluation.bootstrap import Estimate, Sample, difference, mean
from evaluation.claims import points, share
from evaluation.real.authors.attribution import Attributor, left_out
from evaluation.real.authors.judging import Judged
from evaluation.real.authors.measurement import FEW_SHOT, UNGUIDED, Condition
from evaluation.real.authors.study import MAX_TOKENS, SERVED, ModelResults
from evaluation.real.authors.texts import NUM_EXAMPLES, TOPICS, Author
from evaluation.tables import table

SEED = 10
CHANCE = 0.1
HEAD = """# Examples: does `contrast` write like a person?

{authors} invented authors, each with a style of their own, wrote a text on each of {topics} topics; {examples} of each
are shown to the model, the others are what attribution knows. Each author has a text on every topic, so that topics
tell nothing of authors, and no prompt is about any of them. A text is attributed to the author whose references are
nearest in character n-grams (3 and 4 long, TF-IDF, cosine); attribution sees the text alone. On the authors' own
texts it is right for {left_out} of the references, each left out in turn, and for {shown} of the shown ones; by chance
for 10 %.

`prompt` and `contrast` are shown the same examples in the same way (earlier turns of the conversation), so few-shot has
equal tokens; texts are greedy and end after {max_tokens} tokens. Both at once are judged: style, and whether it was
parroted. *Without copies*: runs of five words that stand in a shown example are taken out before attribution;
*strictly*: runs of three. *Copied*: share of runs of five words. *Repeated*: pairs of words that the text has had
before. *Topic*: words of the prompt's topic that the text has. *Served*: as models without a card are; *chosen*: on the
validation prompts. Intervals are 95 % bootstrap intervals over prompts."""

_Value = Callable[[Judged], float]


def section(studied: Sequence[ModelResults], authors: Sequence[Author]) -> str:
    """The whole page on examples, as Markdown."""
    return "\n\n".join([_head(authors), *(part for results in studied for part in _model(results, authors))]) + "\n"


def _head(authors: Sequence[Author]) -> str:
    references = {author.name: author.references for author in authors}
    attributor = Attributor(references)
    outcomes = left_out(references)
    shown = [attributor.author(text) == author.name for author in authors for text in author.examples]
    return HEAD.format(
        authors=len(authors),
        topics=len(TOPICS),
        examples=NUM_EXAMPLES,
        left_out=f"{sum(name == found for name, found in outcomes)} of {len(outcomes)}",
        shown=f"{sum(shown)} of {len(shown)}",
        max_tokens=MAX_TOKENS,
    )


def _model(results: ModelResults, authors: Sequence[Author]) -> Iterator[str]:
    yield f"## {results.name}"
    yield verdict(results)
    yield _conditions_table(results.test)
    yield "Each author's share of texts that are attributed to them, copies taken out:"
    yield _authors_table(results.test, authors)
    yield "Settings, on prompts that nothing else is measured on:"
    yield _conditions_table(results.validation)
    yield f"For each author one prompt, drawn by seed {SEED}. ✓: attributed to the author, copies taken out."
    yield "\n\n".join(_texts(results, authors))
    yield "And the worst: the texts of the chosen setting that copy most and that repeat themselves most."
    yield "\n\n".join(_worst(results.test[results.chosen]))


def verdict(results: ModelResults) -> str:
    """What the numbers support, in sentences; nothing here knows what was hoped for."""
    few_shot = results.test[FEW_SHOT]
    carried = mean(_sample(few_shot, _own_without_copies))
    carries = "carries" if carried.low > CHANCE else "does not carry"
    said = (
        f"**Few-shot {carries} the style**: {share(carried)} of its texts are attributed to the author whose examples "
        "were shown, copies taken out; 10 % would be by chance."
    )
    settings = dict.fromkeys(condition for condition in (SERVED, results.chosen) if condition in results.test)
    return "\n\n".join([said, *(_compared(condition, results) for condition in settings)])


def _compared(condition: Condition, results: ModelResults) -> str:
    contrast, few_shot = results.test[condition], results.test[FEW_SHOT]
    gain = _gain(contrast, few_shot, _own_without_copies)
    strict = _gain(contrast, few_shot, lambda each: each.own_strictly)
    names = [name for name, one in (("served", SERVED), ("chosen", results.chosen)) if one == condition]
    return " ".join(
        [
            f"**{condition.title} ({' and '.join(names)}) {_than(gain)} few-shot**: {points(gain)};",
            f"strictly, {points(strict)}. What it costs:",
            f"copied {_change(contrast, few_shot, lambda each: each.copied)},",
            f"repeated {_change(contrast, few_shot, lambda each: each.repeated)},",
            f"topic {_change(contrast, few_shot, lambda each: each.topic)}.",
        ]
    )


def _than(gain: Estimate) -> str:
    if gain.is_above_zero:
        return "carries more of it than"
    return "carries less of it than" if gain.is_below_zero else "cannot be told from"


def _gain(ours: Sequence[Judged], theirs: Sequence[Judged], value: _Value) -> Estimate:
    return difference(_sample(ours, value), _sample(theirs, value))


def _change(ours: Sequence[Judged], theirs: Sequence[Judged], value: _Value) -> str:
    return points(_gain(ours, theirs, value))


def _sample(judged: Sequence[Judged], value: _Value) -> Sample:
    return Sample([float(value(each)) for each in judged], [each.written.prompt for each in judged])


def _own_without_copies(each: Judged) -> float:
    return each.own_without_copies


def _conditions_table(by_condition: Mapping[Condition, Sequence[Judged]]) -> str:
    header = ("method", "texts", "prompt tokens", "own author, %", "without copies, %", "strictly, %")
    more = ("copied, %", "repeated, %", "topic, %", "KL", "tokens")
    return table((*header, *more), [_row(condition, judged) for condition, judged in by_condition.items()])


def _row(condition: Condition, judged: Sequence[Judged]) -> list[str]:
    kl = [each.written.kl for each in judged if each.written.kl is not None]
    return [
        condition.title,
        str(len(judged)),
        f"{_mean(judged, lambda each: each.written.num_prompt_tokens):.0f}",
        *(
            _percent(mean(_sample(judged, value)))
            for value in (lambda each: each.own, _own_without_copies, lambda each: each.own_strictly)
        ),
        f"{100 * _mean(judged, lambda each: each.copied):.1f}",
        f"{100 * _mean(judged, lambda each: each.repeated):.1f}",
        f"{100 * _mean(judged, lambda each: each.topic):.0f}",
        f"{sum(kl) / len(kl):.3f}" if kl else "",
        f"{_mean(judged, lambda each: each.written.num_tokens):.0f}",
    ]


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.mean:.1f} ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def _mean(judged: Sequence[Judged], value: _Value) -> float:
    return sum(map(value, judged)) / len(judged)


def _authors_table(by_condition: Mapping[Condition, Sequence[Judged]], authors: Sequence[Author]) -> str:
    rows = []
    for author in authors:
        of_author = {
            condition: [each for each in judged if each.written.author == author.name]
            for condition, judged in by_condition.items()
        }
        shares = [f"{100 * _mean(judged, _own_without_copies):.0f}" for judged in of_author.values()]
        rows.append([author.name, author.style, *shares])
    return table(("author", "style", *(condition.title for condition in by_condition)), rows)


def _texts(results: ModelResults, authors: Sequence[Author]) -> Iterator[str]:
    draw = random.Random(SEED)
    prompts = list(dict.fromkeys(each.written.prompt for each in results.test[UNGUIDED]))
    for author in authors:
        prompt = draw.choice(prompts)
        yield f"**{author.name}** ({author.style}) {prompt}"
        yield "\n".join(
            _quoted(condition.title, each)
            for condition, judged in results.test.items()
            for each in judged
            if (each.written.author, each.written.prompt) == (author.name, prompt)
        )


def _worst(judged: Sequence[Judged]) -> Iterator[str]:
    for each in (max(judged, key=lambda each: each.copied), max(judged, key=lambda each: each.repeated)):
        yield _quoted(f"{each.written.author}, copied {each.copied:.0%}, repeated {each.repeated:.0%}", each)


def _quoted(title: str, each: Judged) -> str:
    text = " / ".join(line.strip() for line in each.written.text.splitlines() if line.strip())
    return f"- {title} {'✓' if each.own_without_copies else '✗'}: {text}"
