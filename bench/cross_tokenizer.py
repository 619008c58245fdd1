"""`python -m bench.cross_tokenizer`: what a token of the base costs where a guide has another tokenizer.

python -m bench.cross_tokenizer --base MODEL --reference MODEL --policy ADAPTER_ON_REFERENCE --slots 1,16

The sides take turns on the same prompts: unguided; guided in the base's own tokens, by the base with and without the
principle (`contrast`), which is two rows of the base; and guided by the policy against the reference in theirs. Every
answer has the same number of tokens, and only steps in which all slots decode are counted, in processor seconds, which
say more than the wall's on a machine that others use: run it with `OMP_NUM_THREADS=1`, as idle threads count.

With `--same-guide`, the reference is the base's own model: guided in its own tokens by the policy against a copy,
and by the same with a tokenizer that differs in the name of one token, which takes the other path. Their answers part
where the base proposes what the tokenizer would write otherwise ("t", "he"): how many tokens are the same is printed.

`--language` asks in another one: where the guide has few words, it writes each of the base's candidates in many tokens.
What a row of the guide runs for a token of the base is printed, too: one, and what its candidates branch into.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

from transformers import AutoTokenizer

from domain.preferences import EffectivePreference, Method, Principle
from evaluation.real.other_bases.languages import ASKED_IN
from evaluation.real.suite import read_suite
from worker.engine import Engine, Request, Stream, load_engine
from worker.engine.cross_tokenizer import runner
from worker.engine.cross_tokenizer.trees import Tree, tree_of
from worker.texts.formats import BUILT_IN, Message
from worker.texts.methods import REFERENCE_GUIDE, Encode, streams_of
from worker.texts.prompts import encode

MAX_LENGTH = 512
PRINCIPLE = "be enthusiastic and positive"


@dataclass(frozen=True)
class Side:
    """One way to decode: an engine, the method, and how prompts are written for its base and for its guide."""

    engine: Engine
    method: Method
    of_base: Encode
    of_guide: Encode


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, help="a model's folder")
    parser.add_argument("--reference", help="the folder of the model that the policy is on, with another tokenizer")
    parser.add_argument("--policy", required=True, help="an adapter's folder")
    parser.add_argument("--same-guide", action="store_true", help="the policy is on the base itself")
    parser.add_argument("--language", choices=ASKED_IN, help="of the prompts; by default, the suite's English ones")
    parser.add_argument("--slots", default="1,16")
    parser.add_argument("--tokens", type=int, default=32, help="of each answer")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sides = _sides(options, Path(folder))
        for num_slots in map(int, options.slots.split(",")):
            _compare(sides, _prompts(options.language, num_slots), options.tokens, options.rounds)


def _sides(options: argparse.Namespace, folder: Path) -> dict[str, Side]:
    load = partial(load_engine, options.base, device="cpu", dtype="float32", max_length=MAX_LENGTH)
    of_base = partial(encode, AutoTokenizer.from_pretrained(options.base))
    if not options.same_guide:
        crossed = load(options.policy, options.reference)
        of_guide = partial(encode, AutoTokenizer.from_pretrained(options.reference))
        methods = {"unguided": Method.PROMPT, "contrast": Method.CONTRAST, "texts": Method.PAD}
        return {name: Side(crossed, method, of_base, of_guide) for name, method in methods.items()}
    copy, renamed = folder / "copy", folder / "renamed"
    for place in (copy, renamed):
        shutil.copytree(options.base, place)
    _rename_a_token(renamed / "tokenizer.json")
    equal, crossed = load(options.policy, str(copy)), load(options.policy, str(renamed))
    return {
        "unguided": Side(equal, Method.PROMPT, of_base, of_base),
        "tokens": Side(equal, Method.PAD, of_base, of_base),
        "texts": Side(crossed, Method.PAD, of_base, of_base),
    }


def _rename_a_token(path: Path) -> None:
    """The last of its added tokens, which no text spells."""
    described = json.loads(path.read_text("utf-8"))
    name = described["added_tokens"][-1]["content"]
    described["added_tokens"][-1]["content"] = f"{name}, renamed"
    vocabulary = described["model"]["vocab"]
    if name in vocabulary:
        vocabulary[f"{name}, renamed"] = vocabulary.pop(name)
    path.write_text(json.dumps(described), encoding="utf-8")


def _prompts(language: str | None, number: int) -> list[str]:
    """So many, and the same ones again where there are fewer."""
    known = [prompt.prompt for prompt in read_suite().prompts] if language is None else ASKED_IN[language]
    return [*islice(cycle(known), number)]


def _compare(sides: Mapping[str, Side], prompts: Sequence[str], num_tokens: int, num_rounds: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    written: dict[str, list[tuple[int, ...]]] = {}
    sizes: list[int] = []
    num_slots = len(prompts)
    for _ in range(num_rounds):
        for name, side in sides.items():
            with _noting(sizes):
                of_step, written[name] = _decoded(side.engine, _requests(side, prompts, num_tokens))
            seconds[name].append(of_step)
    if "tokens" in written:
        pairs = [
            pair for ours in zip(written["tokens"], written["texts"], strict=True) for pair in zip(*ours, strict=True)
        ]
        print(f"{num_slots:3} slots  {sum(a == b for a, b in pairs)} of {len(pairs)} tokens are the same")
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    for name, median in medians.items():
        spread = " to ".join(f"{1000 * each:.1f}" for each in (min(seconds[name]), max(seconds[name])))
        ratio = median / medians["unguided"]
        print(f"{num_slots:3} slots  {name:10}  {1000 * median:8.1f} ms a step ({spread})  {ratio:.2f}", flush=True)
    mean, most = statistics.fmean(sizes), max(sizes)
    print(f"{num_slots:3} slots  a row of the guide runs {mean:.2f} tokens a step, {most} at most", flush=True)


@contextmanager
def _noting(sizes: list[int]) -> Iterator[None]:
    """How many tokens each row's tree has."""

    def noted(*args: Any) -> Tree:  # noqa: ANN401 (whatever it is given)
        tree = tree_of(*args)
        sizes.append(len(tree.tokens))
        return tree

    with patch.object(runner, "tree_of", noted):
        yield


def _requests(side: Side, prompts: Sequence[str], num_tokens: int) -> list[Request]:
    preference = EffectivePreference(side.method, 1.0, (Principle(PRINCIPLE),))
    no_end = tuple((token_id, -100.0) for token_id in sorted(side.engine.eos_token_ids))
    return [
        Request(number, _streams(side, preference, prompt), 1.0, k=10, max_tokens=num_tokens, logit_bias=no_end)
        for number, prompt in enumerate(prompts)
    ]


def _streams(side: Side, preference: EffectivePreference, prompt: str) -> tuple[Stream, ...]:
    messages, format = [Message(role="user", content=prompt)], BUILT_IN["system"]
    return streams_of(preference, messages, side.of_base, format, REFERENCE_GUIDE, encode_for_guide=side.of_guide)


def _decoded(engine: Engine, requests: Sequence[Request]) -> tuple[float, list[tuple[int, ...]]]:
    """Processor seconds of a step in which all decode, and the answers."""
    for request in requests:
        engine.add(request)
    answers: dict[int | str, tuple[int, ...]] = {}
    steps: list[float] = []
    while engine.num_active or engine.num_waiting:
        is_full = all(engine.token_ids(request.request_id) for request in requests)
        started = time.process_time()
        outcomes = engine.step()
        if is_full and not outcomes:
            steps.append(time.process_time() - started)
        answers |= {outcome.request_id: getattr(outcome, "token_ids", ()) for outcome in outcomes}
    return statistics.median(steps), [answers[request.request_id] for request in requests]


if __name__ == "__main__":
    main()
