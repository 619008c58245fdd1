"""Items as a decoder takes them, and the settings that one is loaded by."""

import uuid
from pathlib import Path

from domain.attempts import ClaimedItem
from domain.preferences import EffectivePreference, Method
from tests.builders import SAMPLING, preference
from worker.settings import WorkerSettings

PLAIN = preference(method=Method.NONE)


def settings_for(model: Path | None, policy: Path | None = None, **changes: object) -> WorkerSettings:
    given = WorkerSettings(
        database_url="sqlite://",
        redis_url="redis://",
        model=None if model is None else str(model),
        policy=None if policy is None else str(policy),
        device="cpu",
        num_slots=4,
    )
    return given.model_copy(update=changes)


def an_item(item_id: int, prompt: str, given: EffectivePreference = PLAIN, **sampling: object) -> ClaimedItem:
    messages: list[dict[str, object]] = [{"role": "user", "content": prompt}]
    return ClaimedItem(item_id, uuid.UUID(int=0), 1, messages, given.body, {**SAMPLING, **sampling})
