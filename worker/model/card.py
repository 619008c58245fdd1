"""The card: `padserve.json` beside a model's weights. How it shows principles, and the strength that was chosen for it.

Read at load by the worker, written by training and calibration. Knows formats; no tokenizer, no model.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    JsonValue,
    PlainSerializer,
    ValidationError,
)

from domain.preferences import MAX_KL, MAX_STRENGTH, Method
from worker.texts.formats import Format

CARD_NAME = "padserve.json"


class CardError(ValueError):
    """A card that cannot be read; the message names the file and what is wrong with it."""


def _as_format(value: object) -> object:
    return value if isinstance(value, Format) else Format.from_body(value)


class Card(BaseModel):
    """What is known of a model. What a card leaves out is as if there were no card."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal[1] = 1
    format: Annotated[
        InstanceOf[Format], BeforeValidator(_as_format), PlainSerializer(lambda format: format.body, return_type=Any)
    ]
    method: Annotated[Method, Field(strict=False)] | None = None
    strength: float | None = Field(default=None, ge=0, le=MAX_STRENGTH, allow_inf_nan=False)
    max_kl: float | None = Field(default=None, ge=0, le=MAX_KL, allow_inf_nan=False)
    """None is no budget."""
    chosen: dict[str, JsonValue] = {}
    """How the choice was made and why, in the words of whoever made it."""

    def write(self, folder: Path) -> Path:
        """Put the card beside the weights in `folder`."""
        path = folder / CARD_NAME
        body = self.model_dump(mode="json", exclude_unset=True) | {"version": self.version}
        path.write_text(json.dumps(body, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return path


def read_card(path: Path) -> Card:
    """The card in this file; raises CardError."""
    try:
        body = json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_refuse_constant)
        if not isinstance(body, dict):
            raise CardError(f"The card {path} is not a JSON object.")
        return Card.model_validate(body)
    except OSError as error:
        raise CardError(f"The card {path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        raise CardError(f"The card {path} is not valid: {'; '.join(map(_reason, error.errors()))}.") from error
    except ValueError as error:
        if isinstance(error, CardError):
            raise
        raise CardError(f"The card {path} is not JSON: {error}.") from error


def find_card(model: str, policy: str | None = None, card: str | None = None) -> Card | None:
    """The card of what is loaded: the one named, else the policy's where there is a policy, else the base's.

    A model of a hub keeps no card: name one. Raises CardError.
    """
    if card is not None:
        return read_card(Path(card))
    path = Path(model if policy is None else policy) / CARD_NAME
    return read_card(path) if path.is_file() else None


def _refuse_constant(name: str) -> float:
    """What Python writes for such a number is no JSON, and no database keeps it."""
    raise ValueError(f"it has no number {name}")


def _reason(problem: Any) -> str:  # noqa: ANN401 (pydantic's own TypedDict is not exported)
    field = ".".join(map(str, problem["loc"])) or "card"
    if problem["type"] == "extra_forbidden":
        return f"`{field}` is unknown; there are {', '.join(Card.model_fields)}"
    return f"`{field}`: {problem['msg']}"
