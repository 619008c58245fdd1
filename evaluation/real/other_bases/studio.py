"""A base, and a PersRM on a model with another tokenizer, that write texts in either way."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoTokenizer

from evaluation.real.arms import Arm
from evaluation.real.other_bases.arms import OtherBaseArm, Scores
from evaluation.real.other_bases.first_sub_token import FirstSubTokens, first_sub_tokens, judge_by
from evaluation.real.suite import Asked
from evaluation.real.writing import Notebook, Studio, Text
from worker.engine import Request
from worker.engine.cross_tokenizer.texts import Crossing, Texts


@dataclass(frozen=True)
class Models:
    """The folders of a base, of a PersRM, and of what that was trained on."""

    base: Path
    persrm: Path
    trained_on: Path


class OtherBaseStudio(Studio):
    """Writes as `Studio` does; the guide scores what the arm asks it for."""

    def __init__(self, models: Models, notebook: Notebook, max_tokens: int) -> None:
        super().__init__(models.base, models.persrm, notebook, max_tokens, models.trained_on)
        self._texts: Callable[[Crossing], Texts] = Texts
        self._first = first_sub_tokens(self.tokenizer, AutoTokenizer.from_pretrained(models.trained_on))

    def write(self, arm: Arm, tasks: Sequence[Asked]) -> list[Text]:
        """One text for each task; those that are in the notebook are taken from there."""
        self._texts = self._by_first if _scores(arm) is Scores.FIRST_SUB_TOKENS else Texts
        return super().write(arm, tasks)

    def _decode(self, missing: dict[str, Request]) -> None:
        judge_by(self.engine, self._texts)
        super()._decode(missing)

    def _by_first(self, crossing: Crossing) -> Texts:
        return FirstSubTokens(crossing, self._first)

    def _key(self, arm: Arm, request: Request) -> str:
        key, scores = super()._key(arm, request), _scores(arm)
        return key if scores is Scores.TEXTS else hashlib.sha256(f"{key} {scores}".encode()).hexdigest()[:20]


def _scores(arm: Arm) -> Scores:
    return arm.scores if isinstance(arm, OtherBaseArm) else Scores.TEXTS
