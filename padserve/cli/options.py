"""The flags that several commands share: those of a submission, in one place, and `--json`."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_type_hints

import typer

from padserve.cli import offers
from padserve.cli.texts import name_and_value, read_principle, read_text
from padserve.errors import LineError

if TYPE_CHECKING:
    from padserve.client.endpoints import Campaign, Said

FORMATS = ("ndjson", "json", "csv")


def _check_format(name: str | None) -> str | None:
    if name is not None and name not in FORMATS:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(FORMATS)}.")
    return name


Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.", dir_okay=False)]
FormatName = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="ndjson, json (one list) or csv; unsaid, as the file's name ends, else ndjson.",
        autocompletion=offers.formats,
        callback=_check_format,
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(metavar="COLUMN=FIELD", help="What a column of a CSV file is; COLUMN= leaves it out."),
]
IsCsv = Annotated[bool, typer.Option("--csv", help="The file is CSV, whatever it is called.")]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemOptions:
    """What may be said of an item beside whom it is for and how strongly it is guided."""

    model: Annotated[
        str | None, typer.Option(help="Which model; `padserve models` lists them.", autocompletion=offers.models)
    ] = None
    principle: Annotated[
        list[str] | None,
        typer.Option("--principle", "-p", help="Instead of the profiles': TEXT or TEXT=WEIGHT; may be repeated."),
    ] = None
    example: Annotated[
        list[Path] | None, typer.Option(help="Instead of the profiles': a file with a text; may be repeated.")
    ] = None
    k: Annotated[int | None, typer.Option(help="The next token is one of the k most likely.")] = None
    temperature: Annotated[float | None, typer.Option(help="0 is greedy.")] = None
    top_p: Annotated[float | None, typer.Option(help="Nucleus sampling.")] = None
    min_p: Annotated[float | None, typer.Option(help="Drop tokens below this share of the likeliest one's.")] = None
    repetition_penalty: Annotated[float | None, typer.Option(help="Above 1: less of what is there.")] = None
    presence_penalty: Annotated[float | None, typer.Option(help="Once off each token that is there.")] = None
    frequency_penalty: Annotated[float | None, typer.Option(help="Off for each time that it is there.")] = None
    logit_bias: Annotated[
        list[str] | None, typer.Option(metavar="TOKEN=BIAS", help="Added to a token id's logit; may be repeated.")
    ] = None
    seed: Annotated[int | None, typer.Option(help="Where the sequence of the items' seeds begins.")] = None
    n: Annotated[int | None, typer.Option("--n", help="Answers per item.")] = None
    max_tokens: Annotated[int | None, typer.Option(help="Tokens per text at most.")] = None
    min_tokens: Annotated[int | None, typer.Option(help="Tokens per text at least.")] = None
    stop: Annotated[list[str] | None, typer.Option(help="A text before which an answer ends; up to four.")] = None
    rewards: Annotated[bool, typer.Option("--rewards", help="Keep the reward of every token.")] = False
    template: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=JSON", help="An argument of the model's chat template; may be repeated."),
    ] = None
    as_json: AsJson = False

    @property
    def guidance(self) -> dict[str, object]:
        """How each item is guided; what is None is not said."""
        return {}

    @property
    def defaults(self) -> dict[str, object]:
        """The stated settings of items, as a job's `defaults` in the API."""
        plain = (
            *("k", "temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty"),
            *("frequency_penalty", "seed", "n", "max_tokens", "min_tokens"),
        )
        stated: dict[str, object] = self.guidance | {name: getattr(self, name) for name in plain}
        stated |= {
            "principles": [_as_body(text) for text in self.principle or ()] or None,
            "examples": [read_text(path) for path in self.example or ()] or None,
            "logit_bias": {name: _number(value) for name, value in _pairs("--logit-bias", self.logit_bias)} or None,
            "stop": list(self.stop or ()) or None,
            "rewards": self.rewards or None,
            "chat_template_kwargs": {name: _json(value) for name, value in _pairs("--template", self.template)} or None,
        }
        return {name: value for name, value in stated.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions(ItemOptions):
    """What a job says once: each stands where an item says nothing."""

    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Wait until it has ended; exit code 1 if an item failed.")
    ] = False
    method: Annotated[
        str | None, typer.Option(help="none, prompt, pad, mixture or contrast.", autocompletion=offers.methods)
    ] = None
    strength: Annotated[float | None, typer.Option(help="How strongly to guide.")] = None
    max_kl: Annotated[float | None, typer.Option(help="How far guidance may go, in nats per token.")] = None
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Kept with the job; may be repeated.")
    ] = None
    priority: Annotated[
        str | None,
        typer.Option(
            help="interactive, normal or bulk: which of your own jobs goes first.", autocompletion=offers.priorities
        ),
    ] = None
    completion_window: Annotated[str | None, typer.Option(help="As in 24h: what has not ended by then never will.")] = (
        None
    )
    not_before: Annotated[
        datetime | None,
        typer.Option(help="Begin then, in your time zone.", formats=["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"]),
    ] = None
    name: Annotated[str | None, typer.Option(help="What you call the job.")] = None
    holdout: Annotated[
        float | None, typer.Option(metavar="SHARE", help="As in 0.1: this share of the users gets unguided texts.")
    ] = None
    holdout_seed: Annotated[int | None, typer.Option(help="What the hold-out is drawn by.")] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check, and say how much it would be and how long it would take.")
    ] = False
    key: Annotated[str | None, typer.Option(help="An Idempotency-Key: the same key never makes a second job.")] = None

    @property
    def guidance(self) -> dict[str, object]:
        """Method, strength and budget as the API names them; None is not said."""
        return {"method": self.method, "strength": self.strength, "max_kl": self.max_kl}

    @property
    def stated(self) -> "Said":
        """The stated options of the job as keyword arguments of `Client.submit`."""
        return {
            "model": self.model,
            "defaults": self.defaults,
            "metadata": self.metadata_values,
            "priority": self.priority,
            "completion_window": self.completion_window,
            "not_before": None if self.not_before is None else self.not_before.astimezone(),
            "name": self.name,
            "holdout": self.holdout,
            "holdout_seed": self.holdout_seed,
        }

    @property
    def metadata_values(self) -> dict[str, str]:
        """The metadata, value by name."""
        return dict(_pairs("--metadata", self.metadata))


@dataclass(frozen=True, kw_only=True)  # mixed into others, which only one of several bases with slots can be
class AudienceOptions:
    """Whom a campaign is for, and what becomes of who lacks an attribute."""

    tag: Annotated[list[str] | None, typer.Option(help="For every user with this tag; may be repeated.")] = None
    all_tag: Annotated[
        list[str] | None, typer.Option(help="For users who have all of these tags; may be repeated.")
    ] = None
    no_tag: Annotated[list[str] | None, typer.Option(help="Not for users with this tag; may be repeated.")] = None
    user: Annotated[
        list[str] | None, typer.Option(help="For this user; may be repeated.", autocompletion=offers.users)
    ] = None
    everyone: Annotated[bool, typer.Option("--all", help="For every user there is.")] = False
    exclude: Annotated[
        list[str] | None, typer.Option(help="Not for this user; may be repeated.", autocompletion=offers.users)
    ] = None
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out who lacks an attribute that has no default.")
    ] = False
    literal_braces: Annotated[bool, typer.Option("--literal-braces", help="{{name}} is meant as the text {name}.")] = (
        False
    )

    def campaign(self, prompt: str) -> "Campaign":
        """The campaign of this prompt for them; BadParameter where they are nobody, or several audiences."""
        from padserve.client.endpoints import Campaign

        if sum((bool(self.tag or self.all_tag or self.no_tag), bool(self.user), self.everyone)) != 1:
            raise typer.BadParameter("Say for whom: either --tag, --all-tag and --no-tag, or --user, or --all.")
        return Campaign(
            prompt,
            tags=self.tag or (),
            user_ids=self.user or (),
            everyone=self.everyone,
            all_tags=self.all_tag or (),
            no_tags=self.no_tag or (),
            exclude=self.exclude or (),
            missing="skip" if self.skip_missing else "refuse",
            literal_braces=self.literal_braces,
        )


@dataclass(frozen=True, kw_only=True)
class CampaignOptions(AudienceOptions, JobOptions):
    """What `padserve campaign` takes."""


@dataclass(frozen=True, kw_only=True)
class PreviewOptions(AudienceOptions, ItemOptions):
    """What `padserve preview` takes besides what it shows."""

    method: Annotated[
        str | None, typer.Option(help="none, prompt, pad, mixture or contrast.", autocompletion=offers.methods)
    ] = None
    strength: Annotated[float | None, typer.Option(help="How strongly to guide.")] = None
    max_kl: Annotated[float | None, typer.Option(help="How far guidance may go, in nats per token.")] = None

    @property
    def guidance(self) -> dict[str, object]:
        """Method, strength and budget as the API names them; None is not said."""
        return {"method": self.method, "strength": self.strength, "max_kl": self.max_kl}


_FLAGS: Mapping[str, str] = {
    "/defaults/principles": "--principle",
    "/defaults/examples": "--example",
    "/defaults/chat_template_kwargs": "--template",
    "idempotency-key": "--key",
}


def as_flag(error: LineError) -> LineError:
    """An error of an option, told by the name of its flag."""
    error = replace(error, message=error.message.replace("`column=", "`--column "))
    pointer = error.pointer or ""
    name = "/".join(pointer.split("/")[: 3 if pointer.startswith("/defaults/") else 2])
    known = {f"/defaults/{each.name}" for each in fields(JobOptions)} | {f"/{each.name}" for each in fields(JobOptions)}
    if error.line is not None or (name not in _FLAGS and name not in known):
        return error
    return replace(error, pointer=_FLAGS.get(name, "--" + name.rpartition("/")[2].replace("_", "-")))


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose keyword `options` is gathered from flags of their own: those of its type."""
    kind: type[ItemOptions] = inspect.signature(command, eval_str=True).parameters["options"].annotation
    hints = get_type_hints(kind, include_extras=True)
    stated = sorted(fields(kind), key=lambda each: each.name not in kind.__annotations__)  # its own before inherited
    added = [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=hints[each.name],
            default=None if each.default is MISSING else each.default,
        )
        for each in stated
    ]

    @wraps(command)
    def run(*args: object, **kwargs: object) -> None:
        given = {each.name: kwargs.pop(each.name) for each in stated}
        command(*args, **kwargs, options=kind(**given))  # type: ignore[arg-type]  # typer has checked them

    own = [each for each in inspect.signature(command, eval_str=True).parameters.values() if each.name != "options"]
    run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in [*own, *added]}
    return run


def columns_of(column: list[str] | None, *, is_csv: bool) -> dict[str, str] | None:
    """`--column NAME=FIELD` as a mapping from name to field; None where nothing says that the file is a table."""
    return dict(_pairs("--column", column)) if column or is_csv else None


def _pairs(flag: str, texts: Sequence[str] | None) -> list[tuple[str, str]]:
    return [name_and_value(text, flag) for text in texts or ()]


def _as_body(text: str) -> dict[str, object]:
    principle = read_principle(text)
    return {"text": principle.text, "weight": principle.weight}


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text  # the server says what is wrong with it


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
