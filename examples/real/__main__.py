"""`python -m examples.real`: pairs for a personalised reward model of a real model, written and judged here.

python -m examples.real --base .padserve/models/smollm2 --out pairs.jsonl
padserve train --base .padserve/models/smollm2 --pairs pairs.jsonl --out policy --format system
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from transformers import AutoTokenizer

from examples.real.pairs import Judged, Kind, pairs
from examples.real.prompts import prompts
from examples.real.texts import Candidate, Sampling, contexts, write
from worker.engine import load_engine
from worker.texts.formats import SYSTEM, Message, with_principles
from worker.texts.prompts import encode

SEED = 20410


def show(prompt: str, principles: Sequence[str]) -> list[Message]:
    """The conversation as it is served."""
    return with_principles([Message(role="user", content=prompt)], principles, SYSTEM)


def save(judged: Iterable[Judged], out: Path, kinds: frozenset[Kind] = frozenset(Kind)) -> Counter[str]:
    """Write the pairs of these kinds, one a line; how many there are of each kind."""
    wanted = [one for one in judged if one.kind in kinds]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(f"{one.pair.model_dump_json()}\n" for one in wanted), encoding="utf-8")
    return Counter(one.kind.value for one in wanted)


def candidates(
    base: str, num_prompts: int, device: str, sampling: Sampling, without: frozenset[str]
) -> list[Candidate]:
    """What the base model writes."""
    engine = load_engine(base, device=device, dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(base)
    return write(
        contexts(prompts(SEED, num_prompts), sampling, SEED, without),
        engine.generate,
        show=show,
        encode=partial(encode, tokenizer),
        text_of=lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=True)),
        sampling=sampling,
        seed=SEED,
    )


def main() -> None:
    """Write the pairs."""
    parser = argparse.ArgumentParser(prog="python -m examples.real", description="Write and judge preference pairs.")
    parser.add_argument("--base", required=True, help="SmolLM2-135M-Instruct, a folder")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines for `padserve train`")
    parser.add_argument("--num-prompts", type=int, default=400)
    parser.add_argument("--max-tokens", type=int, default=80)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--without", nargs="*", default=[], help="names of principles that are left out")
    options = parser.parse_args()
    sampling = Sampling(max_tokens=options.max_tokens)
    texts = candidates(options.base, options.num_prompts, options.device, sampling, frozenset(options.without))
    counts = save(pairs(texts, SEED), options.out)
    print(f"{options.out}: {counts.total()} pairs of {len(texts)} texts ({dict(counts)}).")


if __name__ == "__main__":
    main()
