"""Simulated users whose hidden weights are to be learnt from their choices, on the demo's models.

`python -m examples.demo.learning [OUT]` writes docs/learning.md: how near the fitted weights come to the hidden ones,
by number of pairs, and whether the user prefers what is written with them. Two kinds of users: one chooses by the very
rewards that the fit weighs (is the method right?), one by whether a text keeps the principles, which rules judge and
no model (is it of use?).
"""

import random
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from domain.attempts import ClaimedItem
from domain.pairs import PreferredPair
from domain.preferences import Method, Principle, effective_preference
from examples.demo.evaluate import held_out_requests
from examples.demo.learning_report import NAMES, NUM_PAIRS, Errors, Scale, Verdict, page
from examples.demo.principles import BY_NAME
from worker.learning.preference_fit import BETA, Array, fit_weights
from worker.settings import WorkerSettings
from worker.texts.decoder import TextDecoder, load_decoder

MODEL = Path(__file__).parent / "model"
OUT = Path("docs/learning.md")
STRENGTH = 0.25  # of four weights that sum up to four
TIE = 1e-9  # of sums in another order
NATS_PER_PRINCIPLE = 30.0  # to a user who goes by rules, keeping one is worth what so large a log-ratio is to the other
SAMPLING: dict[str, object] = {
    "k": 10,
    "temperature": 0.0,
    "top_p": 1.0,
    "seed": 0,
    "max_tokens": 120,
    "stop": [],
    "rewards": False,
}


@dataclass(frozen=True)
class Pool:
    """Texts of the system itself, under many weights: what users choose from."""

    texts: list[list[str]]
    """[prompts, texts each]."""
    features: Array
    """[prompts, texts, K]: `phi` against that of the prompt's first text."""


class Writer:
    """Writes texts with the demo's models by `mixture`, and compares texts, as a worker does."""

    def __init__(self, model: Path) -> None:
        settings = WorkerSettings(
            database_url="-", redis_url="-", model=str(model / "base"), policy=str(model / "policy"), device="cpu"
        )
        self._decoder: TextDecoder = load_decoder(settings)

    def write(self, prompts: Sequence[str], weights: Sequence[Array], temperature: float = 0.0) -> list[str]:
        """One text for each prompt under its weights."""
        for index, (prompt, weight) in enumerate(zip(prompts, weights, strict=True)):
            principles = [
                Principle(BY_NAME[name].wordings[0], float(value)) for name, value in zip(NAMES, weight, strict=True)
            ]
            body = effective_preference(Method.MIXTURE, STRENGTH, principles).body
            sampling = SAMPLING | {"temperature": temperature, "seed": index}
            messages: list[dict[str, object]] = [{"role": "user", "content": prompt}]
            self._decoder.add(ClaimedItem(index, _NO_JOB, 1, messages, body, sampling))
        texts: dict[int, str] = {}
        while self._decoder.has_work:
            texts.update((outcome.item_id, outcome.text or "") for outcome in self._decoder.step())
        return [texts[index] for index in range(len(prompts))]

    def features(self, prompt: str, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """`phi` of each text against the first."""
        messages: list[dict[str, object]] = [{"role": "user", "content": prompt}]
        pairs = [PreferredPair(messages, text, texts[0]) for text in texts]
        wordings = [BY_NAME[name].wordings[0] for name in NAMES]
        return [row or (0.0,) * len(NAMES) for row in self._decoder.compare(pairs, wordings)]


_NO_JOB = uuid.UUID(int=0)


def make_pool(writer: Writer, prompts: Sequence[str], texts_per_prompt: int, seed: int) -> Pool:
    """Texts under random weights, sampled, so that they differ."""
    rng = np.random.default_rng(seed)
    asked = [prompt for prompt in prompts for _ in range(texts_per_prompt)]
    weights = [hidden_weights(rng) for _ in asked]
    written = writer.write(asked, weights, temperature=0.7)
    texts = [written[start : start + texts_per_prompt] for start in range(0, len(written), texts_per_prompt)]
    features = [writer.features(prompt, of_prompt) for prompt, of_prompt in zip(prompts, texts, strict=True)]
    return Pool(texts, np.array(features))


def hidden_weights(rng: np.random.Generator) -> Array:
    """Weights of a user who cares for some principles more than for others; they add up to those of the default."""
    weights: Array = rng.dirichlet([0.7] * len(NAMES)) * len(NAMES)
    return weights


def kept(text: str) -> Array:
    """[K], 1 where the rule says that the text keeps the principle."""
    return np.array([float(BY_NAME[name].satisfies(text)) for name in NAMES])


Utility = Callable[[Pool, int, int, Array], float]
"""What a text of the pool (prompt, text) is worth to a user with these weights, in nats times weight."""


def by_rewards(pool: Pool, prompt: int, text: int, weights: Array) -> float:
    """What the fit assumes."""
    return float(pool.features[prompt, text] @ weights)


def by_rules(pool: Pool, prompt: int, text: int, weights: Array) -> float:
    """What a reader sees."""
    return NATS_PER_PRINCIPLE * float(kept(pool.texts[prompt][text]) @ weights)


def choose(pool: Pool, weights: Array, utility: Utility, num_pairs: int, seed: int) -> Array:
    """The differences of features [n, K] of the pairs that a user was shown, chosen text first."""
    rng = random.Random(seed)
    rows: list[Array] = []
    while len(rows) < num_pairs:
        prompt = rng.randrange(len(pool.texts))
        one, other = rng.sample(range(len(pool.texts[prompt])), 2)
        if pool.texts[prompt][one] == pool.texts[prompt][other]:
            continue
        margin = BETA * (utility(pool, prompt, one, weights) - utility(pool, prompt, other, weights))
        chosen, rejected = (one, other) if rng.random() < 1 / (1 + np.exp(-margin)) else (other, one)
        rows.append(pool.features[prompt, chosen] - pool.features[prompt, rejected])
    return np.array(rows)


def learnt_weights(pool: Pool, weights: Array, utility: Utility, num_pairs: int, seed: int) -> Array:
    """What a fit makes of a user's choices; the default where it refuses."""
    default = np.ones(len(NAMES))
    found = fit_weights(choose(pool, weights, utility, num_pairs, seed), default, total=len(NAMES))
    return default if found is None else np.array(found.weights)


def measure_errors(pool: Pool, scale: Scale, user: str, utility: Utility) -> Errors:
    """Over many users, each of whom gives more and more pairs."""
    users = _users(scale.num_users)
    errors, favourites = [], []
    for num_pairs in NUM_PAIRS:
        found = [learnt_weights(pool, weights, utility, num_pairs, seed) for seed, weights in enumerate(users)]
        errors.append(float(np.mean([np.abs(one - other).mean() for one, other in zip(found, users, strict=True)])))
        favourites.append(
            float(np.mean([one.argmax() == other.argmax() for one, other in zip(found, users, strict=True)]))
        )
    nothing = float(np.mean([np.abs(1 - weights).mean() for weights in users]))
    return Errors(user, nothing, tuple(errors), tuple(favourites))


def measure_readers(writer: Writer, pool: Pool, prompts: Sequence[str], scale: Scale) -> Iterator[Verdict]:
    """Write for readers who judge by rules: with the default, the learnt and their own weights."""
    readers = _users(scale.num_readers)
    learnt = [
        learnt_weights(pool, weights, by_rules, scale.pairs_for_readers, seed) for seed, weights in enumerate(readers)
    ]
    default = writer.write(prompts, [np.ones(len(NAMES))] * len(prompts))
    baseline = np.array([[kept(text) @ weights for text in default] for weights in readers])
    for label, used in (("default", [np.ones(len(NAMES))] * len(readers)), ("learnt", learnt), ("hidden", readers)):
        asked = [prompt for _ in readers for prompt in prompts]
        texts = writer.write(asked, [weights for weights in used for _ in prompts])
        satisfied = np.array([kept(text) for text in texts]).reshape(len(readers), len(prompts), -1)
        utility = np.einsum("rpk,rk->rp", satisfied, np.array(readers))
        better = utility - baseline
        wins = (np.sign(better) * (np.abs(better) > TIE) + 1) / 2
        low, high = _interval(wins)
        yield Verdict(label, float(wins.mean()), low, high, float(utility.mean() / len(NAMES)))


def _users(num_users: int) -> list[Array]:
    rng = np.random.default_rng(7)
    return [hidden_weights(rng) for _ in range(num_users)]


def _interval(wins: Array) -> tuple[float, float]:
    """95 % of the means over resampled readers."""
    rng = np.random.default_rng(8)
    of_readers = wins.mean(axis=1)
    means = [rng.choice(of_readers, len(of_readers)).mean() for _ in range(2000)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def simulate(scale: Scale, model: Path = MODEL) -> str:
    """All of it, as a page."""
    requests = [
        request.prompt
        for request in held_out_requests(seed=31, num_requests=scale.num_prompts + scale.num_test_prompts)
    ]
    seen, new = requests[: scale.num_prompts], requests[scale.num_prompts :]
    writer = Writer(model)
    pool = make_pool(writer, seen, scale.texts_per_prompt, seed=5)
    errors = [measure_errors(pool, scale, *user) for user in (("rewards", by_rewards), ("rules", by_rules))]
    return page(errors, list(measure_readers(writer, pool, new, scale)), scale)


def main() -> None:
    """Command line."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    out.write_text(simulate(Scale()), encoding="utf-8")
    print(out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
