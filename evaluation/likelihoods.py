"""What a model says of texts that are already written, by the project's own engine. Token ids only; decides nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from evaluation.writing import NotWrittenError
from worker.engine import Engine, Score, ScoreRequest

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """Whether a text was written for what its prompt tells: held against other prompts, which tell something else."""

    text: Ids
    told: Ids
    rivals: tuple[Ids, ...]
    """At least one; with several, their mean is what counts."""


def log_likelihoods(engine: Engine, texts: Sequence[tuple[Ids, Ids]]) -> list[float]:
    """For each (prompt, text), the sum of the text's log-probabilities in nats. Raises NotWrittenError."""
    requests = [
        ScoreRequest(request_id=number, prompt_ids=prompt, completion_ids=text)
        for number, (prompt, text) in enumerate(texts)
    ]
    sums = []
    for outcome in engine.score(requests):
        if not isinstance(outcome, Score):
            raise NotWrittenError(outcome.message)
        sums.append(math.fsum(outcome.log_probabilities))
    return sums


def log_odds(engine: Engine, questions: Sequence[Question]) -> list[float]:
    """For each text y, under the model, in nats: `log pi(y | told) - log mean_q pi(y | rival q)`."""
    prompts = [(question.told, *question.rivals) for question in questions]
    sums = iter(
        log_likelihoods(
            engine,
            [(prompt, question.text) for question, told in zip(questions, prompts, strict=True) for prompt in told],
        )
    )
    return [_against(*islice(sums, len(told))) for told in prompts]


def _against(own: float, *rivals: float) -> float:
    most = max(rivals)
    return own - most - math.log(math.fsum(math.exp(rival - most) for rival in rivals) / len(rivals))
