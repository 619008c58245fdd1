"""The profiles of one server, as `client.profiles` of an `AsyncClient`."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from padserve.client import endpoints, profile_previews
from padserve.client.answers import Feedback, ImportReport, Principle, Profile
from padserve.client.async_sources import opened_profiles
from padserve.client.async_transport import AsyncTransport
from padserve.client.ndjson import Source
from padserve.client.profile_previews import ProfilePreview, Variant
from padserve.errors import ApiError


class AsyncProfiles:
    """Stored preferences by user id. Every change makes a new version; a change that changes nothing makes none."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def get(self, user_id: str) -> Profile:
        """The newest version."""
        return await self._transport.ask(endpoints.profile(user_id))

    async def put(
        self,
        user_id: str,
        *,
        principles: Iterable[str | Principle] = (),
        method: str | None = None,
        strength: float | None = None,
        max_kl: float | None = None,
        examples: Iterable[str] = (),
        attributes: Mapping[str, str] | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, str] | None = None,
        learn: bool = False,
        if_match: str | None = None,
    ) -> Profile:
        """Create or replace the whole profile. With `if_match`, only while its etag is that one."""
        body = endpoints.profile_body(
            principles=principles,
            method=method,
            strength=strength,
            max_kl=max_kl,
            examples=examples,
            attributes=attributes,
            tags=tags,
            metadata=metadata,
            learn=learn,
        )
        return await self.put_body(user_id, body, if_match=if_match)

    async def put_body(self, user_id: str, body: Mapping[str, object], *, if_match: str | None = None) -> Profile:
        """The same from a JSON object."""
        return await self._transport.ask(endpoints.put_profile(user_id, body, if_match))

    async def patch(self, user_id: str, changes: Mapping[str, object], *, if_match: str | None = None) -> Profile:
        """Merge changes into the profile (RFC 7396): None removes, lists are replaced."""
        return await self._transport.ask(endpoints.patch_profile(user_id, changes, if_match))

    async def delete(self, user_id: str, *, if_match: str | None = None) -> None:
        """Remove the profile with all its versions."""
        await self._transport.ask(endpoints.delete_profile(user_id, if_match))

    async def give_feedback(
        self,
        user_id: str,
        *,
        pairs: Iterable[Mapping[str, object]] = (),
        ratings: Iterable[Mapping[str, object]] = (),
        model: str | None = None,
    ) -> Feedback:
        """Say what the user preferred; the weights of the profile's principles are fitted to it in the background.

        A pair has `prompt` or `messages`, `chosen` and `rejected`; a rating has `job_id`, `custom_id` and `rating`. The
        profile must say `learn: true`. Two texts for one prompt, rated differently at whatever time, make a pair.
        `model` is the one whose policy scores the texts; it is needed where several are served. Safe to repeat: a pair
        is stored once.
        """
        return await self._transport.ask(endpoints.give_feedback(user_id, pairs, ratings, model))

    async def feedback(self, user_id: str) -> Feedback:
        """How many pairs and ratings are stored, and how the newest fit to them stands."""
        return await self._transport.ask(endpoints.feedback(user_id))

    async def withdraw_feedback(self, user_id: str) -> None:
        """Forget every stored pair and rating; the profile keeps the weights that were learnt so far."""
        await self._transport.ask(endpoints.withdraw_feedback(user_id))

    async def preview(
        self,
        user_id: str,
        prompt: str,
        *,
        variants: Iterable[Variant] = (),
        token_rewards: bool = False,
        text: str | None = None,
        model: str | None = None,
        wait_seconds: int = profile_previews.WAIT_SECONDS,
        settings: Mapping[str, object] | None = None,
    ) -> ProfilePreview:
        """As `Profiles.preview`."""
        return await self._transport.ask(
            profile_previews.ask(
                user_id,
                prompt,
                variants=variants,
                token_rewards=token_rewards,
                text=text,
                model=model,
                wait_seconds=wait_seconds,
                settings=settings,
            )
        )

    async def list(self, *, tags: Sequence[str] = (), page_size: int = 100) -> AsyncIterator[Profile]:
        """Every profile, or those with any of the tags, by user id; pages are read as they are needed."""
        after: str | None = None
        while True:
            page = await self._transport.ask(endpoints.profiles(tags, page_size, after))
            for each in page.data:
                yield each
            if (after := page.last_id) is None:
                return

    async def import_(
        self, source: Source, *, dry_run: bool = False, columns: Mapping[str, str] | None = None
    ) -> ImportReport:
        """Create or change one profile per entry: what an entry leaves out stays as it is.

        Entries are JSON objects with `user_id`, an NDJSON file or its path, or the path of a CSV file; of that,
        `columns` gives columns the names of fields (`attributes.first_name` is one), and empty ones to those that are
        none. All or nothing. A dry run only says what would happen.
        """
        async with opened_profiles(source, columns) as body:
            try:
                return await self._transport.ask(endpoints.import_profiles(body, columns or {}, dry_run=dry_run))
            except ApiError as error:
                raise error.moved(body.place) from None

    def export_lines(self, *, tags: Sequence[str] = ()) -> AsyncIterator[str]:
        """Every profile, or those with any of the tags, as NDJSON lines that `import_` takes."""
        return self._transport.lines(endpoints.export_profiles(tags))
