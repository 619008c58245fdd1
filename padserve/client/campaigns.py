"""Campaigns: one prompt for many users, seen before it is submitted. `client.campaigns` of both clients."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter

from padserve.client.answers import ItemError
from padserve.client.async_transport import AsyncTransport
from padserve.client.endpoints import Ask, Campaign
from padserve.client.transport import Call, Transport

DEFAULT_USERS = 5
WAIT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class PreviewedUser:
    """What one user would get; `error` says why there is no prompt, or not the texts that were asked for."""

    user_id: str
    prompt: str | None = None
    text: str | None = None
    unguided_text: str | None = None
    error: ItemError | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """Some users of a campaign's audience, of how many, and what they would get."""

    model: str
    num_users: int
    complete: bool
    data: tuple[PreviewedUser, ...]


_PREVIEW = TypeAdapter(Preview)


class Campaigns:
    """Campaigns on one server."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def preview(
        self,
        campaign: Campaign,
        *,
        n: int = DEFAULT_USERS,
        seed: int = 0,
        texts: bool = False,
        unguided: bool = False,
        wait_seconds: int = WAIT_SECONDS,
        model: str | None = None,
        defaults: Mapping[str, object] | None = None,
    ) -> Preview:
        """The prompts of `n` users of the audience, with `texts` also what is written for them. Nothing of it is kept.

        Another `seed` draws other users. `unguided` adds the same texts without guidance. What is not written within
        `wait_seconds` is missing, and has an error.
        """
        said = {"n": n, "seed": seed, "texts": texts, "unguided": unguided, "wait_seconds": wait_seconds}
        return self._transport.ask(_preview(campaign, said, model, defaults))


class AsyncCampaigns:
    """Campaigns on one server, awaited."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def preview(
        self,
        campaign: Campaign,
        *,
        n: int = DEFAULT_USERS,
        seed: int = 0,
        texts: bool = False,
        unguided: bool = False,
        wait_seconds: int = WAIT_SECONDS,
        model: str | None = None,
        defaults: Mapping[str, object] | None = None,
    ) -> Preview:
        """What some users of a campaign would get, as `Campaigns.preview` has it."""
        said = {"n": n, "seed": seed, "texts": texts, "unguided": unguided, "wait_seconds": wait_seconds}
        return await self._transport.ask(_preview(campaign, said, model, defaults))


def _preview(
    campaign: Campaign, said: Mapping[str, object], model: str | None, defaults: Mapping[str, object] | None
) -> Ask[Preview]:
    stated = {"model": model, "defaults": dict(defaults or {}) or None}
    body = {**campaign.body, **said, **{name: value for name, value in stated.items() if value is not None}}
    return Ask(Call("POST", "/v1/campaigns/preview", json=body, repeats_safely=True), _PREVIEW.validate_json)
