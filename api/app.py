"""The HTTP application: which routes there are, and what they share."""

import time

from fastapi import Depends, FastAPI
from starlette.datastructures import State
from starlette.middleware.gzip import GZipMiddleware

from api import health, metrics, models
from api.anthropic import batches as message_batches
from api.anthropic import messages
from api.bulk import Bulk, BulkThreads
from api.campaigns import previews
from api.dashboard import pages
from api.documentation import DocumentedApi
from api.http.admission import Lanes
from api.http.crowds import Crowds
from api.http.dependencies import Services, callers_in
from api.http.heads import HeadMiddleware
from api.http.parameters import refuse_broken_text, refuse_unknown_parameters
from api.http.problems import install_error_handlers
from api.http.requests import RequestMiddleware
from api.jobs import events as job_events
from api.jobs import flow as job_flow
from api.jobs import results
from api.jobs import routes as jobs
from api.jobs.polling import PollRoute, plain_polls_in
from api.jobs.status import statuses_in
from api.openai import at_once, batches, files
from api.profiles import feedback
from api.profiles import previews as profile_previews
from api.profiles import routes as profiles
from api.profiles import transfer as profile_transfer
from api.readiness import ReadinessChecks, new_round
from api.settings import Settings
from api.streams.endings import Endings
from api.streams.hearing import Ear
from api.streams.listening import Listeners
from api.webhooks import routes as webhook_routes
from db.session import Database
from worker.queue import PUBLISH_TIMEOUT_SECONDS, Publisher, Queue, create_queue

COMPRESSED_FROM_BYTES = 2048
"""Bodies of known length are compressed from so many bytes on; status polls are smaller, streams always are."""
FASTEST_LEVEL = 1
"""Texts shrink to a third at a hundred megabytes a second; better levels would hold up everybody else's answers."""

OWN = (
    jobs,
    job_flow,
    job_events,
    results,
    previews,
    profiles,
    profile_previews,
    profile_transfer,
    feedback,
    models,
    webhook_routes,
)
VENDORS = (files, batches, at_once, message_batches, messages)


def create_app(
    settings: Settings, *, database: Database | None = None, queue: Queue | None = None, bulk: Bulk | None = None
) -> FastAPI:
    """The application on its settings. Connects to nothing until a request needs it.

    Without `bulk`, long work is done in threads of this process.
    """
    app = DocumentedApi()
    app.state = new_state(settings, database=database, queue=queue, bulk=bulk)
    app.add_middleware(GZipMiddleware, minimum_size=COMPRESSED_FROM_BYTES, compresslevel=FASTEST_LEVEL)
    app.add_middleware(HeadMiddleware)
    app.add_middleware(RequestMiddleware)
    install_error_handlers(app)
    app.router.routes.insert(0, PollRoute())
    for resource in OWN:
        checks = [Depends(refuse_broken_text), Depends(refuse_unknown_parameters)]
        app.include_router(resource.router, dependencies=checks)
    for resource in (*VENDORS, health):  # monitors and the vendors' clients add parameters of their own
        app.include_router(resource.router)
    pages.install(app)
    return app


def new_state(
    settings: Settings, *, database: Database | None = None, queue: Queue | None = None, bulk: Bulk | None = None
) -> State:
    """What an application holds for its requests, as nobody has used it; arguments as for `create_app`."""
    database = database or Database(settings.database_url)
    publisher = Publisher(queue or create_queue(settings.redis_url, timeout_seconds=PUBLISH_TIMEOUT_SECONDS))
    statuses = statuses_in(database, publisher)
    services = Services(
        settings=settings,
        database=database,
        publisher=publisher,
        callers=callers_in(database),
        statuses=statuses,
        polled_statuses=Crowds(statuses),
        plain_polls=Crowds(plain_polls_in(database, publisher)),
        endings=Endings(database),
        ear=Ear(settings.redis_url),
        listeners=Listeners(database, publisher),
        lanes=Lanes(),
        bulk=bulk or BulkThreads(settings, database),
        readiness=ReadinessChecks(lambda: new_round(settings, database)),
        metrics=metrics.registry(database),
    )
    return State({"services": services, "started_at": int(time.time()), **pages.new_state(services)})
