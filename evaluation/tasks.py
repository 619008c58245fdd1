"""What is to be written: which prompts for which principles, in which wording. Drawn from a suite by a seed."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from evaluation.rules import PLACE
from evaluation.suite import Prompt, Split, Suite, SuitePrinciple


@dataclass(frozen=True)
class Task:
    """One text to write. `wrong` is a principle that was not asked for, in the words of a user who did."""

    prompt: Prompt
    principles: tuple[SuitePrinciple, ...]
    wordings: tuple[str, ...]
    wrong: str
    seed: int
    values: Mapping[str, str] = field(default_factory=dict)
    """By name, of every principle of the suite that has values: the one that is asked for, or would be."""

    @property
    def asked(self) -> str:
        """The names of the principles, as tables say them."""
        return " + ".join(principle.name for principle in self.principles)


def draw_tasks(
    suite: Suite, split: Split, asked: Sequence[tuple[str, ...]], *, seeds: Sequence[int], num_prompts: int
) -> list[Task]:
    """Each of `asked` on the same prompts; a seed decides which prompts, and each text's wordings and values.

    Fewer prompts are the first of more, worded alike; the prompts of different seeds are others, as far as they reach.
    Greedy decoding has no chance in it: what a seed varies is what is asked, not how it is answered.
    """
    by_name = {principle.name: principle for principle in suite.principles}
    pool = list(suite.of_split(split))
    random.Random(str(split)).shuffle(pool)
    tasks = []
    for seed in seeds:
        prompts = list(_window(pool, seed, len(seeds)))[:num_prompts]
        for names in asked:
            principles = tuple(by_name[name] for name in names)
            tasks += [_task(suite, prompt, principles, seed) for prompt in prompts]
    return tasks


def _window(pool: Sequence[Prompt], seed: int, num_seeds: int) -> Iterator[Prompt]:
    """The pool in a circle, each seed starting elsewhere."""
    start = seed * len(pool) // num_seeds
    yield from (*pool[start:], *pool[:start])


def _task(suite: Suite, prompt: Prompt, principles: tuple[SuitePrinciple, ...], seed: int) -> Task:
    names = [principle.name for principle in principles]
    rng = random.Random(f"{seed} {prompt.prompt} {names}")
    values = {one.name: rng.choice(one.values) for one in suite.principles if one.values}
    others = [one for one in suite.principles if one.name not in names]

    def worded(principle: SuitePrinciple) -> str:
        return rng.choice(principle.wordings).replace(PLACE, values.get(principle.name, PLACE))

    wordings = tuple(map(worded, principles))
    return Task(prompt, principles, wordings, worded(rng.choice(others)) if others else "", seed, values)
