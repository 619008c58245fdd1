"""All that is written and judged for one model, kept as it is made: settings first, on prompts of their own."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from domain.preferences import Method
from evaluation.plan import EvaluatedModels
from evaluation.real.authors.judging import Judged, judge
from evaluation.real.authors.measurement import FEW_SHOT, UNGUIDED, Condition, Written, write
from evaluation.real.authors.prompts import TEST_PROMPTS, VALIDATION_PROMPTS
from evaluation.real.authors.texts import Author, read_authors
from evaluation.real.lines import whole_lines
from evaluation.writing import Writer
from worker.texts.decoder import UNCALIBRATED_MAX_KL, UNCALIBRATED_STRENGTH

MAX_TOKENS = 40
MAX_REPEATED_MORE = 0.05
"""A setting is not chosen whose texts repeat more of their pairs of words than few-shot's by more than this share."""
SERVED = Condition(Method.CONTRAST, UNCALIBRATED_STRENGTH, UNCALIBRATED_MAX_KL)
"""What a model without a card is served with: measured whatever is chosen."""
SETTINGS = (
    SERVED,
    Condition(Method.CONTRAST, UNCALIBRATED_STRENGTH, 0.5),
    Condition(Method.CONTRAST, 0.5),
    Condition(Method.CONTRAST, 1.0),
)


@dataclass(frozen=True)
class ModelResults:
    """One model's texts, judged: of the validation prompts, which chose, and of the test prompts."""

    name: str
    validation: Mapping[Condition, Sequence[Judged]]
    test: Mapping[Condition, Sequence[Judged]]
    chosen: Condition
    """The setting of `contrast` that the validation prompts chose."""


class Texts:
    """What was written, in a file: a study that was interrupted goes on where it was."""

    def __init__(self, path: Path) -> None:
        self._path = path
        known = [_from_body(json.loads(line)) for line in whole_lines(path)]
        self._known = {(text.condition, text.author, text.prompt): text for text in known}

    def of(self, writer: Writer, author: Author, prompts: Sequence[str], condition: Condition) -> list[Written]:
        """The author's texts for these prompts; those that are missing are written first."""
        writes_as = "" if condition == UNGUIDED else author.name  # unguided, all authors have the same texts
        missing = [prompt for prompt in prompts if (condition, writes_as, prompt) not in self._known]
        if missing:
            fresh = [replace(text, author=writes_as) for text in write(writer, author, missing, condition)]
            self._known |= {(text.condition, text.author, text.prompt): text for text in fresh}
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(asdict(text), ensure_ascii=False) + "\n" for text in fresh)
        return [replace(self._known[condition, writes_as, prompt], author=author.name) for prompt in prompts]


def measure(name: str, folder: str, kept: Path, *, device: str, num_prompts: int | None = None) -> ModelResults:
    """Measure the model in `folder`, in float32; what was written is kept in `kept`, and not written again."""
    kept.mkdir(parents=True, exist_ok=True)
    writer = Writer.load(EvaluatedModels(folder), device=device, max_tokens=MAX_TOKENS)
    return study(name, writer, read_authors(), Texts(kept / f"{name}.jsonl"), num_prompts)


def study(name: str, writer: Writer, authors: Sequence[Author], texts: Texts, num_prompts: int | None) -> ModelResults:
    """Choose among the settings of `contrast`, then write what is reported; with fewer prompts for a slower model."""

    def judged(conditions: Sequence[Condition], prompts: Sequence[str]) -> dict[Condition, Sequence[Judged]]:
        written = {
            condition: [text for author in authors for text in texts.of(writer, author, prompts, condition)]
            for condition in conditions
        }
        return {condition: judge(of_condition, authors) for condition, of_condition in written.items()}

    validation = judged([FEW_SHOT, *SETTINGS], VALIDATION_PROMPTS[:num_prompts])
    chosen = choose(validation, SETTINGS)
    test = judged([*dict.fromkeys([UNGUIDED, FEW_SHOT, SERVED, chosen])], TEST_PROMPTS[:num_prompts])
    return ModelResults(name, validation, test, chosen)


def choose(validation: Mapping[Condition, Sequence[Judged]], among: Sequence[Condition]) -> Condition:
    """The setting whose texts are most often attributed to their author, copies taken out, among those not in a loop.

    Where all loop, the one that does least.
    """
    repeated = {setting: _mean([each.repeated for each in validation[setting]]) for setting in (FEW_SHOT, *among)}
    sound = [setting for setting in among if repeated[setting] <= repeated[FEW_SHOT] + MAX_REPEATED_MORE]
    if not sound:
        return min(among, key=lambda setting: repeated[setting])
    return max(sound, key=lambda setting: _mean([each.own_without_copies for each in validation[setting]]))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _from_body(body: dict[str, object]) -> Written:
    condition = body.pop("condition")
    if not isinstance(condition, dict):
        raise TypeError("A line of the texts' file is not a text.")
    method, strength, max_kl = Method(condition["method"]), condition["strength"], condition["max_kl"]
    return Written(condition=Condition(method, strength, max_kl), **body)  # type: ignore[arg-type]  # as it was written
