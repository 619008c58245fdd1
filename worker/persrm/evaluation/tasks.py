"""What is to be written: which prompts for which principles, in which wording. Drawn from a suite by a seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from worker.persrm.evaluation.suite import Principle, Prompt, Split, Suite


@dataclass(frozen=True)
class Task:
    """One text to write. `wrong` is a principle that was not asked for, in the words of a user who did."""

    prompt: Prompt
    principles: tuple[Principle, ...]
    wordings: tuple[str, ...]
    wrong: str
    seed: int

    @property
    def asked(self) -> str:
        """The names of the principles, as tables say them."""
        return " + ".join(principle.name for principle in self.principles)


def draw_tasks(
    suite: Suite, split: Split, asked: Sequence[tuple[str, ...]], *, seeds: Sequence[int], num_prompts: int
) -> list[Task]:
    """Each of `asked` on the same prompts; a seed decides which prompts, and each text's wordings.

    Greedy decoding has no chance in it: what a seed varies is what is asked, not how it is answered.
    """
    by_name = {principle.name: principle for principle in suite.principles}
    tasks = []
    for seed in seeds:
        rng = random.Random(f"{split} {seed}")
        pool = suite.of_split(split)
        prompts = rng.sample(pool, min(num_prompts, len(pool)))
        for names in asked:
            others = [principle for principle in suite.principles if principle.name not in names]
            for prompt in prompts:
                principles = tuple(by_name[name] for name in names)
                wordings = tuple(rng.choice(principle.wordings) for principle in principles)
                wrong = rng.choice(rng.choice(others).wordings) if others else ""
                tasks.append(Task(prompt, principles, wordings, wrong, seed))
    return tasks
