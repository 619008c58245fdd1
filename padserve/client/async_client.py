"""The Python client for asyncio. What it asks and how it reads answers is in `endpoints`, as for `Client`."""

import asyncio
import datetime as dt
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from padserve.client import comparison, endpoints
from padserve.client.answers import DryRun, Job, Model, Result, position_of
from padserve.client.async_profiles import AsyncProfiles
from padserve.client.async_sources import opened
from padserve.client.async_transport import AsyncTransport
from padserve.client.async_webhooks import AsyncWebhooks
from padserve.client.campaigns import AsyncCampaigns
from padserve.client.client import MAX_RETRIES, TIMEOUT_SECONDS
from padserve.client.comparison import Comparison, Trial
from padserve.client.discovery import find_server
from padserve.client.endpoints import Campaign, Said
from padserve.client.events import RETRY_SECONDS, EventReading
from padserve.client.frames import frame_of
from padserve.client.ndjson import Source
from padserve.client.transport import read_from
from padserve.client.waiting import Waiting, shown_progress
from padserve.errors import ApiError, PadserveError, UnreachableError


class AsyncClient:
    """`Client` for asyncio: the same methods, awaited; lists and results are iterated with `async for`."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        max_retries: int = MAX_RETRIES,
        http: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        url, api_key = find_server(os.environ, url, api_key)
        self._sleep = sleep
        self._max_retries = max_retries
        self._transport = AsyncTransport(
            url, api_key, timeout_seconds=timeout_seconds, max_retries=max_retries, http=http, sleep=sleep
        )
        self.profiles = AsyncProfiles(self._transport)
        self.campaigns = AsyncCampaigns(self._transport)
        self.webhooks = AsyncWebhooks(self._transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()

    async def submit(
        self,
        source: Source | Campaign,
        *,
        model: str | None = None,
        defaults: Mapping[str, object] | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: str | None = None,
        completion_window: str | None = None,
        not_before: dt.datetime | None = None,
        name: str | None = None,
        holdout: float | None = None,
        holdout_seed: int | None = None,
        idempotency_key: str | None = None,
        columns: Mapping[str, str] | None = None,
    ) -> Job:
        """Submit items or a campaign; the job is stored when this returns.

        Items are JSON objects, an NDJSON file or its path, the path of a CSV file, or a data frame; of the last two,
        `columns` gives columns the names of fields, and empty ones to those that are none.

        `model` is needed where several are served. `defaults` holds what items leave unsaid (`method`, `strength`,
        `max_tokens`, ...). `priority` is interactive, normal or bulk; what has not ended within the
        `completion_window` ("24h") never will; nothing is decoded `not_before` a moment, which has a time zone.
        Of the users, the share `holdout` gets unguided texts, drawn by `holdout_seed`.
        A call with the same `idempotency_key` and content gives the same job.
        """
        options = endpoints.job_options(
            model=model,
            defaults=defaults,
            metadata=metadata,
            priority=priority,
            completion_window=completion_window,
            not_before=not_before,
            name=name,
            holdout=holdout,
            holdout_seed=holdout_seed,
        )
        if isinstance(source, Campaign):
            return await self._transport.ask(endpoints.submit_campaign(source, options, idempotency_key))
        async with opened(source, options=options, columns=columns) as body:
            try:
                return await self._transport.ask(endpoints.submit_items(body.chunks, idempotency_key))
            except ApiError as error:
                raise error.moved(body.place) from None

    async def dry_run(
        self, source: Source | Campaign, *, columns: Mapping[str, str] | None = None, **options: Unpack[Said]
    ) -> DryRun:
        """What `submit` of the same would be, with estimates of tokens and time; nothing is stored. Raises the same."""
        stated = endpoints.options_of(options)
        if isinstance(source, Campaign):
            return await self._transport.ask(endpoints.rehearse_campaign(source, stated))
        async with opened(source, options=stated, columns=columns) as body:
            try:
                return await self._transport.ask(endpoints.rehearse_items(body.chunks))
            except ApiError as error:
                raise error.moved(body.place) from None

    async def job(self, job_id: str) -> Job:
        """The job as it stands now."""
        return await self._transport.ask(endpoints.job(job_id))

    async def jobs(
        self, *, state: str | None = None, name: str | None = None, page_size: int = 100
    ) -> AsyncIterator[Job]:
        """Every job, the newest first; pages are read as they are needed."""
        after: str | None = None
        while True:
            page = await self._transport.ask(endpoints.jobs(state, page_size, after, name))
            for each in page.data:
                yield each
            if (after := page.last_id) is None:
                return

    async def readdress(self, job_id: str, model: str) -> Job:
        """Have another model write what is left of the job: for when nobody serves its own any more."""
        return await self._transport.ask(endpoints.act(job_id, "readdress", {"model": model}))

    async def models(self) -> list[Model]:
        """Every model that a worker has registered, the ones that are served first."""
        return await self._transport.ask(endpoints.models())

    async def cancel(self, job_id: str) -> Job:
        """End the job: what has finished is kept, everything else is cancelled."""
        return await self._transport.ask(endpoints.act(job_id, "cancel"))

    async def pause(self, job_id: str) -> Job:
        """Begin nothing more of the job until it is resumed."""
        return await self._transport.ask(endpoints.act(job_id, "pause"))

    async def resume(self, job_id: str) -> Job:
        """Let a paused job go on."""
        return await self._transport.ask(endpoints.act(job_id, "resume"))

    async def prioritise(self, job_id: str, priority: str) -> Job:
        """Have the job's next items written before or after those of your others: interactive, normal or bulk."""
        return await self._transport.ask(endpoints.act(job_id, "priority", {"priority": priority}))

    async def retry(self, job_id: str) -> Job:
        """Have what failed of the job done again; what has finished is never done again."""
        return await self._transport.ask(endpoints.act(job_id, "retry"))

    async def delete(self, job_id: str) -> None:
        """Remove an ended job with its items and texts."""
        await self._transport.ask(endpoints.delete_job(job_id))

    async def wait(
        self,
        job_id: str,
        *,
        on_progress: Callable[[Job], None] | None = None,
        progress: bool = False,
        timeout_seconds: float | None = None,
    ) -> Job:
        """Ask until the job has ended, and return it; `on_progress` sees every answer, `progress` shows a bar."""
        waiting = Waiting(job_id, timeout_seconds)
        with shown_progress(on_progress, progress=progress) as show:
            while True:
                job = await self.job(job_id)
                show(job)
                if job.has_ended:
                    return job
                await self._sleep(waiting.next_pause(job))

    async def compare(
        self,
        prompt: str,
        user_id: str,
        *,
        methods: Sequence[str] = (),
        strengths: Sequence[float] = (),
        max_kls: Sequence[float] = (),
        model: str | None = None,
        defaults: Mapping[str, object] | None = None,
        on_progress: Callable[[Job], None] | None = None,
        timeout_seconds: float = comparison.PATIENCE_SECONDS,
    ) -> list[Trial]:
        """The same prompt for one user under several settings, ahead of the tenant's other jobs; nothing of it is kept.

        Methods, strengths and budgets are combined; without any, the unguided text is beside the one that the profile
        gets. `defaults` holds what is the same for all, one seed included. Raises `ComparisonError` where no worker
        serves the model, and `JobTimeoutError` after so long.
        """
        plan = Comparison(prompt, user_id, methods, strengths, max_kls)
        seed, others = comparison.seed_of(defaults)

        async def submitted() -> Job:
            with comparison.told_once(user_id):
                return await self.submit(
                    plan.items(seed),
                    model=model,
                    defaults=others,
                    metadata=comparison.METADATA,
                    priority=comparison.PRIORITY,
                    completion_window=comparison.KEPT_AT_MOST,
                    idempotency_key=plan.key,
                )

        async with self._passing(submitted) as job:
            comparison.check_served(await self.job(job.id), await self.models())
            check = comparison.check_goes_on(on_progress)
            await self.wait(job.id, on_progress=check, timeout_seconds=timeout_seconds)
            return plan.trials([each async for each in self.results(job.id)])

    @asynccontextmanager
    async def _passing(self, submitted: Callable[[], Awaitable[Job]]) -> AsyncIterator[Job]:
        """A job that is deleted at the end, whatever happens, also where its submission is interrupted."""
        job: Job | None = None
        try:
            job = await submitted()
            yield job
        except PadserveError:
            raise
        except BaseException:
            job = job or await submitted()  # by its key it is the same, if it arrived
            raise
        finally:
            if job is not None:
                with suppress(PadserveError):  # it has ended
                    await self.cancel(job.id)
                with suppress(PadserveError):  # nobody answers; its window ends it
                    await self.delete(job.id)

    async def events(self, job_id: str) -> AsyncIterator[Job]:
        """The job as it is, then whenever it has moved, and at last as it has ended: told by the server, not asked for.

        A connection that breaks is made again; what was missed meanwhile is in the next.
        """
        reading = EventReading(self._max_retries)
        while True:
            try:
                async for line in self._transport.lines(endpoints.job_events(job_id, reading.last_id)):
                    if (job := reading.take(line)) is not None:
                        yield job
                        if job.has_ended:
                            return
                broken = UnreachableError(f"The events of job {job_id} ended before it had.")
            except UnreachableError as error:
                broken = error
            if not reading.may_go_on():
                raise broken
            await self._sleep(RETRY_SECONDS)

    async def results(self, job_id: str, *, state: str | None = None, partial: bool = False) -> AsyncIterator[Result]:
        """What became of the items, in input order, as they arrive.

        Raises `IncompleteResultsError` before the first where the job has not ended; with `partial` what is there is
        given.
        """
        async for line in self.result_lines(job_id, state=state, partial=partial):
            with read_from(self._transport.url):
                result = endpoints.read_result(line)
            yield result

    async def result_lines(self, job_id: str, *, state: str | None = None, partial: bool = False) -> AsyncIterator[str]:
        """The same as NDJSON, a line at a time. A broken connection is taken up after the last line it brought."""
        check = None if partial else endpoints.partial_refused(job_id)
        after: int | None = None
        num_breaks = 0
        while True:
            try:
                async for line in self._transport.lines(endpoints.results(job_id, state, after), check=check):
                    with read_from(self._transport.url):
                        position = position_of(line, after)
                    yield line
                    after, num_breaks = position, 0
            except UnreachableError:
                num_breaks += 1
                if num_breaks > self._max_retries:
                    raise
            else:
                return

    def results_csv(self, job_id: str, *, state: str | None = None, partial: bool = False) -> AsyncIterator[bytes]:
        """The same as the bytes of a CSV file for spreadsheets, as the server writes it."""
        check = None if partial else endpoints.partial_refused(job_id)
        return self._transport.chunks(endpoints.results_csv(job_id, state), check=check)

    async def results_frame(self, job_id: str, *, state: str | None = None, partial: bool = False) -> Any:  # noqa: ANN401 - a pandas.DataFrame
        """The same as a pandas data frame, a row each. Needs pandas."""
        return frame_of([each async for each in self.results(job_id, state=state, partial=partial)])
