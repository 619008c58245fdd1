"""Measures the demo's models on held-out topics: unguided, prompted, and guided. The rules judge, never the policy."""

import random
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.demo.corpus import Request, make_request
from examples.demo.decoding import DemoMethod, DemoModels
from examples.demo.grammar import is_well_formed
from examples.demo.principles import BY_NAME, SEEN, compatible
from examples.demo.readers import STRENGTH
from examples.demo.topics import HELD_OUT_NAMES, HELD_OUT_TOPICS

_GUIDED = f"guided, w = {STRENGTH}"
UNGUIDED = DemoMethod("unguided, greedy", guidelines=False)
PROMPTED = DemoMethod("prompted, greedy", guidelines=True)
GUIDED = DemoMethod(f"{_GUIDED}, greedy", guidelines=True, strength=STRENGTH)
METHODS = (
    UNGUIDED,
    DemoMethod("unguided, temperature 0.7", guidelines=False, temperature=0.7),
    PROMPTED,
    DemoMethod("prompted, temperature 0.7", guidelines=True, temperature=0.7),
    GUIDED,
    DemoMethod("guided, w = 1.0, greedy", guidelines=True, strength=1.0),
    DemoMethod(f"{_GUIDED}, temperature 0.7", guidelines=True, strength=STRENGTH, temperature=0.7),
)


@dataclass(frozen=True)
class Result:
    """Shares of the texts that one method wrote for one principle, or for several asked at once."""

    method: str
    asked: str
    satisfied: float
    topic_carried: float
    name_carried: float
    well_formed: float
    distinct: float
    num_texts: int


def held_out_requests(seed: int, num_requests: int) -> list[Request]:
    """Requests about topics that training never saw, every fourth for a name it never saw."""
    rng = random.Random(seed)
    topics = [HELD_OUT_TOPICS[index % len(HELD_OUT_TOPICS)] for index in range(num_requests)]
    return [
        make_request(rng, topic, rng.choice(HELD_OUT_NAMES) if index % 4 == 0 else None)
        for index, topic in enumerate(topics)
    ]


def carries(text: str, word: str) -> bool:
    """Whether the word, or phrase, stands in the text as such."""
    return re.search(rf"\b{re.escape(word)}\b", text) is not None


def measure(
    models: DemoModels,
    requests: Sequence[Request],
    methods: Sequence[DemoMethod] = METHODS,
    names: Sequence[str] = tuple(BY_NAME),
) -> Iterator[Result]:
    """Each method on each principle; a last row for pairs of seen principles asked for at once."""
    for method in methods:
        if method.guidelines:
            for name in names:
                yield judge(models, requests, method, [(name,)] * len(requests), asked=name)
            yield judge(models, requests, method, _two_each(len(requests)), asked="two at once")
        else:
            texts = models.write([request.prompt for request in requests], [()] * len(requests), method)
            for name in names:
                yield _result(method, name, requests, texts, [(name,)] * len(requests))


def judge(
    models: DemoModels, requests: Sequence[Request], method: DemoMethod, wanted: Sequence[tuple[str, ...]], asked: str
) -> Result:
    """Writes a text for each request under its principles and counts what the rules say."""
    principles = [[BY_NAME[name].wordings[0] for name in names] for names in wanted]
    texts = models.write([request.prompt for request in requests], principles, method)
    return _result(method, asked, requests, texts, wanted)


def _result(
    method: DemoMethod, asked: str, requests: Sequence[Request], texts: Sequence[str], wanted: Sequence[tuple[str, ...]]
) -> Result:
    rows = list(zip(requests, texts, strict=True))
    named = [(request.name, text) for request, text in rows if request.name is not None]
    kept = [all(BY_NAME[name].satisfies(text) for name in names) for text, names in zip(texts, wanted, strict=True)]
    return Result(
        method=method.name,
        asked=asked,
        satisfied=sum(kept) / len(kept),
        topic_carried=sum(carries(text, request.topic) for request, text in rows) / len(rows),
        name_carried=sum(carries(text, name) for name, text in named) / len(named),
        well_formed=sum(is_well_formed(text, request.topic, request.name) for request, text in rows) / len(rows),
        distinct=len({text.replace(request.topic, "{t}") for request, text in rows}) / len(rows),
        num_texts=len(rows),
    )


def _two_each(num_rows: int) -> list[tuple[str, ...]]:
    rng = random.Random(3)
    rows: list[tuple[str, ...]] = []
    while len(rows) < num_rows:
        names = tuple(rng.sample(SEEN, 2))
        if compatible(frozenset(names)):
            rows.append(names)
    return rows


def main() -> None:
    """Command line: `python -m examples.demo.evaluate [MODEL_FOLDER]`; one line per method and principle."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "model"
    models = DemoModels.load(folder / "base", folder / "policy")
    for row in measure(models, held_out_requests(seed=5, num_requests=216)):
        print(
            f"{row.method:34}{row.asked:12} satisfied {row.satisfied:6.1%}  topic {row.topic_carried:6.1%}  "
            f"name {row.name_carried:6.1%}  well formed {row.well_formed:6.1%}  distinct {row.distinct:6.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
