"""One set of models under study: writes tasks by a method, judges the texts, has some of them scored by models."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from evaluation.judge import Judge
from evaluation.measures import Measured, Rules
from evaluation.methods import Arm
from evaluation.plan import EvaluatedModels, Plan
from evaluation.scoring import Scorer
from evaluation.suite import Split, Suite
from evaluation.tasks import Task, draw_tasks
from evaluation.writing import Writer, Writing

LOG = logging.getLogger("padserve.evaluation")


class Study:
    """Writer, scorer, rules and judge over one set of models."""

    def __init__(self, plan: Plan, suite: Suite, rules: Rules, models: EvaluatedModels | None = None) -> None:
        self.plan = plan
        self.suite = suite
        self.rules = rules
        self.models = models or plan.models
        self.writer = Writer.load(
            self.models, device=plan.device, max_tokens=plan.max_tokens, format=plan.models.format
        )
        self.scorer = Scorer(self.models, self.writer, plan.language_model)

    @classmethod
    def open(cls, plan: Plan, suite: Suite) -> "Study":
        """The plan's own models, and its judge if it names one; a judge reads texts, and no values."""
        names = [principle.name for principle in suite.principles if not principle.values]
        return cls(plan, suite, Rules(suite, Judge(plan.judge, names) if plan.judge else None))

    def of(self, models: EvaluatedModels) -> "Study":
        """The same study of other models, shown principles in the same format."""
        return Study(self.plan, self.suite, self.rules, models)

    def test_tasks(self) -> list[Task]:
        """Test prompts, every principle alone."""
        return self._draw(Split.TEST, None, self.plan.seeds, self.plan.num_prompts)

    def control_tasks(self, asked: Sequence[tuple[str, ...]] | None = None) -> list[Task]:
        """The first of each seed's test prompts; every principle alone, unless something else is asked for."""
        num_prompts = min(self.plan.num_prompts, self.plan.num_control_prompts)
        return self._draw(Split.TEST, asked, self.plan.seeds, num_prompts)

    def scored_tasks(self) -> list[Task]:
        """The tasks on test prompts whose texts other models score."""
        tasks = self.control_tasks()
        return [tasks[place] for place in self.scored_places(tasks)]

    def side_tasks(self, asked: Sequence[tuple[str, ...]] | None = None) -> list[Task]:
        """Fewer test prompts, of the first seed."""
        return self._draw(Split.TEST, asked, [0], min(self.plan.num_prompts, self.plan.num_side_prompts))

    def validation_tasks(self) -> list[Task]:
        """Validation prompts, every principle alone: what settings are chosen on."""
        return self._draw(Split.VALIDATION, None, [0], self.plan.num_validation_prompts)

    def _draw(
        self, split: Split, asked: Sequence[tuple[str, ...]] | None, seeds: Sequence[int], num_prompts: int
    ) -> list[Task]:
        singles = [(principle.name,) for principle in self.suite.principles]
        return draw_tasks(self.suite, split, singles if asked is None else asked, seeds=seeds, num_prompts=num_prompts)

    def run(self, method: Arm, tasks: Sequence[Task], *, scored: bool = True) -> Measured:
        """Texts for the tasks, judged; the scored share of them is scored too."""
        writing = self.writer.write(tasks, method)
        return self.measure(writing, scored=scored)

    def measure(self, writing: Writing, *, scored: bool = True) -> Measured:
        """A writing judged, and scored."""
        start = time.monotonic()
        places = self.scored_places([text.task for text in writing.texts]) if scored else []
        part = replace(writing, texts=tuple(writing.texts[place] for place in places))
        measured = self.rules.measure(writing, dict(zip(places, self.scorer.score(part), strict=True)))
        LOG.info(
            "%s: %d texts, written in %.0f s, measured in %.0f s",
            writing.method.name,
            len(writing.texts),
            writing.seconds,
            time.monotonic() - start,
        )
        return measured

    def scored_places(self, tasks: Sequence[Task]) -> list[int]:
        """Where, among the tasks, those of the first seed's first prompts are."""
        prompts = dict.fromkeys(task.prompt.prompt for task in tasks if task.seed == tasks[0].seed)
        first = set(list(prompts)[: self.plan.num_scored_prompts])
        return [place for place, task in enumerate(tasks) if task.seed == tasks[0].seed and task.prompt.prompt in first]
