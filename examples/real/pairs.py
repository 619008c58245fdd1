"""From candidate texts to preference pairs: what is sound, what is better, and what else may not differ."""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from examples.real.judges import words
from examples.real.texts import Candidate, Context, Origin
from worker.persrm.pairs import PreferencePair

FEWEST_WORDS = 12
MOST_REPEATED = 0.15
LENGTH_RATIO = 1.5
"""Between the longer and the shorter text of a pair, unless the principle is about length."""
_PRINTED = re.compile(r"[\x20-\x7e\n\u2018-\u201d\u2013\u2014\u2022\u20ac\u00a3\u00b0\u00e0-\u00ff]*")
_ECHO = re.compile(
    r"style in every answer|write it in this style|\[(?:guidelines|principles|instruction)\]|language model|"
    r"as an ai|i'm sorry|i cannot|following principle|here's (?:a|an) (?:revised|rewritten|version)|the tone |"
    r"\bin an? [\w ,]{3,40} (?:tone|style|manner|way)\b",
    re.IGNORECASE,
)
_STOP = frozenset(
    words(
        "write short message that tells about text website explain sentences matters describe reader never heard "
        "invitation event lines newsletter give advice somebody interested answer customer asks advertisement tell "
        "colleague what people should know product description main points reminder with from this your have"
    )
)


class Kind(StrEnum):
    """What a rejected text has done wrong."""

    WEAK = "weak"
    """Both texts are prompted ones: the better one was drawn by luck, so the policy can stay near the base."""
    STEERED = "steered"
    """The chosen text was steered, the rejected one only prompted or plain."""
    WRONG = "wrong"
    """The rejected text keeps another principle well."""


@dataclass(frozen=True)
class Judged:
    """A pair and what kind of it."""

    kind: Kind
    pair: PreferencePair


def finished(candidate: Candidate) -> str:
    """The text, cut behind its last whole sentence or line where the model was stopped in the middle."""
    text = candidate.text.strip()
    if candidate.ended:
        return text
    ends = [found.end() for found in re.finditer(r"[.!?][\"')*]*(?=\s|$)", text)] + [text.rfind("\n")]
    return text[: max(ends)].strip()


def is_sound(text: str, context: Context) -> bool:
    """Whether it is text: long enough, hardly repeated, about the prompt, without an echo of what was asked."""
    found = words(text)
    if len(found) < FEWEST_WORDS or not _PRINTED.fullmatch(text) or _ECHO.search(text):
        return False
    triples = list(zip(found, found[1:], found[2:], strict=False))
    if 1 - len(set(triples)) / max(len(triples), 1) > MOST_REPEATED:
        return False
    lower = text.lower()
    if any(len(wording.split()) >= 2 and wording.lower() in lower for wording in context.wordings):  # noqa: PLR2004
        return False
    topic = {word[:5] for word in words(context.prompt) if len(word) > 3 and word not in _STOP}  # noqa: PLR2004
    return not topic or bool(topic & {word[:5] for word in found})


def advantage(context: Context, text: str, other: str) -> float:
    """By how many margins `text` keeps the context's principles better; of two, the one that is kept less decides."""
    gaps = [(one.judge(text) - one.judge(other)) / one.margin for one in context.principles]
    return min(gaps) * (1 if len(gaps) == 1 else 2)


def pairs(candidates: Iterable[Candidate], seed: int, per_kind: int = 1) -> list[Judged]:
    """For each context up to `per_kind` pairs of each kind, all margins kept."""
    rng = random.Random(seed)
    by_prompt: dict[str, list[tuple[Candidate, str]]] = defaultdict(list)
    for candidate in candidates:
        by_prompt[candidate.context.prompt].append((candidate, finished(candidate)))
    found: list[Judged] = []
    for texts in by_prompt.values():
        for context in dict.fromkeys(candidate.context for candidate, _ in texts if candidate.context.principles):
            found += _of_context(context, texts, rng, per_kind)
    return found


def _of_context(
    context: Context, texts: Sequence[tuple[Candidate, str]], rng: random.Random, per_kind: int
) -> list[Judged]:
    own: dict[Origin, list[str]] = defaultdict(list)
    wrong: list[str] = []
    for candidate, text in texts:
        if not is_sound(text, context):
            continue
        if candidate.context == context or candidate.origin is Origin.PLAIN:
            own[candidate.origin].append(text)
        else:
            wrong.append(text)
    prompted, steered = own[Origin.PROMPTED], own[Origin.STEERED]
    pools = {
        Kind.WEAK: (prompted, prompted),
        Kind.STEERED: (steered, prompted + own[Origin.PLAIN]),
        Kind.WRONG: (prompted + steered, wrong),
    }
    found = []
    for kind, (better, worse) in pools.items():
        for chosen, rejected in _matched(context, better, worse, rng, per_kind):
            pair = PreferencePair(prompt=context.prompt, principles=context.wordings, chosen=chosen, rejected=rejected)
            found.append(Judged(kind, pair))
    return found


def _matched(
    context: Context, better: Sequence[str], worse: Sequence[str], rng: random.Random, most: int
) -> list[tuple[str, str]]:
    """Pairs with a clear margin and like lengths, the clearest first; no text is in two of them."""
    free = any(principle.about_length for principle in context.principles)
    possible = [
        (advantage(context, chosen, rejected), rng.random(), chosen, rejected)
        for chosen in better
        for rejected in worse
        if chosen != rejected and (free or _alike(chosen, rejected))
    ]
    found: list[tuple[str, str]] = []
    for gap, _, chosen, rejected in sorted(possible, reverse=True):
        if gap < 1 or len(found) == most:
            break
        if not any(chosen in pair or rejected in pair for pair in found):
            found.append((chosen, rejected))
    return found


def _alike(one: str, other: str) -> bool:
    lengths = sorted((len(words(one)), len(words(other))))
    return lengths[1] <= LENGTH_RATIO * lengths[0]
