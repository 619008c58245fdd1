"""The section of docs/real-models.md on other bases, and its texts. Numbers in, Markdown out."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from evaluation.bootstrap import Estimate, difference, mean
from evaluation.real.judged import sample, wins
from evaluation.real.other_bases.study import NUM_PRINCIPLES
from evaluation.real.report import OTHER_BASES, principles_table, summaries_table, texts_page
from evaluation.real.results import ModelResults
from evaluation.real.verdicts import in_common, share, spread
from evaluation.tables import table

HEAD = """
A PersRM that was trained on SmolLM2-135M (`examples/real/policy`) steers bases with other tokenizers, which it never
saw: `pad` scores the whole text that each of the base's candidates adds, in its own tokens (decision 0024). Beside it
stands the way of PAD's released code, written anew from a description: `first sub-token` looks at the guide's first
token of each candidate, decoded and encoded by itself, with what the PersRM was trained on as the reference; `as
released`, the base itself is the reference and logits are compared as they are, at the strength {released} of most of
its configurations. The first {principles} principles, {prompts} test prompts each; one format, `{format}`, for all.
Where texts were read for their perplexity, it was by the third model, neither base nor guide.
"""
PAIRS = (
    ("pad", "first sub-token"),
    ("pad", "first sub-token, as released"),
)


def put_section(out: Path, studied: Sequence[ModelResults], head: str) -> None:
    """In the place of the one that is there, at the end of the report; and its texts, in the report's folder."""
    folder = out.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    before = out.read_text(encoding="utf-8").partition(f"\n{OTHER_BASES}\n")[0] if out.exists() else ""
    parts = [before.rstrip(), OTHER_BASES, head.strip()]
    for results in studied:
        page = folder / f"texts-{results.name}-guided-by-smollm2.md"
        page.write_text(texts_page(results), encoding="utf-8")
        parts += _base(results, f"{folder.name}/{page.name}")
    out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def head_of(studied: Sequence[ModelResults], format: str, released: float) -> str:
    """What was done."""
    prompts = studied[0].summaries[0].num_texts // NUM_PRINCIPLES
    return HEAD.format(released=released, principles=NUM_PRINCIPLES, prompts=prompts, format=format)


def _base(results: ModelResults, page: str) -> Iterator[str]:
    yield f"### {results.name}, guided by a PersRM of smollm2"
    yield f"[Texts]({page}). Effects of all principles together; differences are to `{results.prompted}`."
    yield summaries_table(results.summaries)
    yield "One way beside the other, for the same tasks:"
    yield pairs_table(results)
    yield principles_table(results)


def pairs_table(results: ModelResults) -> str:
    """How much further one arm's texts keep their principles than another's."""
    rows = [[f"{ours} against {theirs}", *_against(results, ours, theirs)] for ours, theirs in PAIRS]
    return table(("", "effect", "wins", "topic", "repetition"), rows)


def _against(results: ModelResults, ours: str, theirs: str) -> Iterator[str]:
    pair = in_common(results.texts[ours], results.texts[theirs])
    effects = [sample(texts, results.scale.effect) for texts in pair]
    topics = [sample(texts, lambda text: text.topic) for texts in pair]
    repetitions = [sample(texts, lambda text: 100 * text.repetition) for texts in pair]
    won: Estimate = mean(wins(*pair))
    yield spread(difference(*effects))
    yield share(won)
    yield spread(difference(*topics), 3)
    yield spread(difference(*repetitions), 1)
