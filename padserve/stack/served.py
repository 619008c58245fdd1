"""The models that one local stack serves: as the command line writes them, with names that tell them apart."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from domain.model_names import model_name
from padserve.errors import StackError

_NAME = re.compile(r"([^/=+@,]+)=(.+)")
SAME_NAME = "Two models would both be called {name}: give one another name, as in --model {name}-2={model}"
ONE_NAME = "{setting} is for a single model: with --model, write the name in front, as in --model NAME=PATH."
NO_MODEL = "--model {text} names no model: write --model PATH, --model PATH+POLICY or --model NAME=PATH+POLICY."
NO_REFERENCE = (
    "PADSERVE_REFERENCE is for PADSERVE_POLICY: with --model, write the reference behind the policy, "
    "as in --model PATH+POLICY+REFERENCE."
)
NO_SUCH_FORM = (
    "--model {text} has {fault}: write --model [NAME=]PATH+POLICY+REFERENCE, where the reference is the model that the "
    "policy was trained on."
)
MOST_PARTS = 3


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model and the worker that is started for it."""

    model: str
    policy: str | None
    name: str
    reference: str | None = None
    """The model that the policy was trained on, where that is not `model`."""
    metrics_port: int | None = None
    """Its worker's own, where one is set: no two workers can have the same."""

    @property
    def settings(self) -> dict[str, str]:
        """Environment variables of its worker alone; an empty value unsets what all processes are given."""
        settings = {
            "PADSERVE_MODEL": self.model,
            "PADSERVE_POLICY": self.policy or "",
            "PADSERVE_REFERENCE": self.reference or "",
            "PADSERVE_MODEL_NAME": self.name,
        }
        return settings if self.metrics_port is None else settings | {"PADSERVE_METRICS_PORT": str(self.metrics_port)}

    @property
    def file_name(self) -> str:
        """The name with every character that a file name may not have replaced by a hyphen."""
        return re.sub(r"[^\w.-]+", "-", self.name)


def read_served(texts: Sequence[str], environ: Mapping[str, str]) -> tuple[ServedModel, ...]:
    """The models of `--model [NAME=]PATH[+POLICY[+REFERENCE]]`; raises `StackError` where two would have one name.

    They stand for PADSERVE_MODEL, PADSERVE_POLICY and PADSERVE_REFERENCE. Of a metrics port that is set, the first
    model's worker has that one, and each other the next.
    """
    served = tuple(map(_read, texts))
    if served and environ.get("PADSERVE_REFERENCE"):
        raise StackError(NO_REFERENCE)
    for setting in ("PADSERVE_MODEL_NAME", "PADSERVE_MODEL_ALIASES"):
        if served and environ.get(setting):
            raise StackError(ONE_NAME.format(setting=setting))
    counts = Counter(model.name for model in served)
    for model in reversed(served):
        if counts[model.name] > 1:
            raise StackError(SAME_NAME.format(name=model.name, model=model.model))
    first_port = environ.get("PADSERVE_METRICS_PORT", "")
    if not first_port.isdecimal():
        return served
    return tuple(replace(model, metrics_port=int(first_port) + place) for place, model in enumerate(served))


def _read(text: str) -> ServedModel:
    is_folder = Path(_parts(text)[0]).exists()
    named = None if is_folder else _NAME.fullmatch(text)
    name, rest = (named[1], named[2]) if named else (None, text)
    parts = _parts(rest)
    model, policy, reference = (*parts, "", "")[:MOST_PARTS]
    if not model:
        raise StackError(NO_MODEL.format(text=text))
    if len(parts) > MOST_PARTS:
        raise StackError(NO_SUCH_FORM.format(text=text, fault="too many parts"))
    if reference and not policy:
        raise StackError(NO_SUCH_FORM.format(text=text, fault="a reference and no policy"))
    return ServedModel(model, policy or None, name or model_name(model), reference or None)


def _parts(text: str) -> list[str]:
    """What stands between the `+`, of which those in the name of a file or folder that is there divide nothing."""
    words = text.split("+")
    heads = [("+".join(words[:number]), words[number:]) for number in range(len(words), 0, -1)]
    head, rest = next(((head, rest) for head, rest in heads if head and Path(head).exists()), heads[-1])
    return [head, *(_parts("+".join(rest)) if rest else ())]
