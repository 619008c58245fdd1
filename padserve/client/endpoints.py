"""What is asked of a server, and how its answers are read. Sends nothing: both clients do, each in its way."""

import datetime as dt
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Generic, TypedDict, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter

from padserve.client import ndjson
from padserve.client.answers import DryRun, Feedback, ImportReport, Job, Model, Principle, Profile, Result
from padserve.client.transport import IDEMPOTENCY_KEY, Call, OpenBody, Param, Params
from padserve.errors import IncompleteResultsError

Answer = TypeVar("Answer")

MERGE_PATCH = "application/merge-patch+json"
INCOMPLETE = "X-Incomplete"
NOT_ENDED = "Job {job_id} has not ended: wait for it first, or ask for partial results."

DRY: Params = {"dry_run": True}

_JOB = TypeAdapter(Job)
_JOBS = TypeAdapter(list[Job])
_MODELS = TypeAdapter(list[Model])
_PROFILE = TypeAdapter(Profile)
_PROFILES = TypeAdapter(list[Profile])
_DRY_RUN = TypeAdapter(DryRun)
_REPORT = TypeAdapter(ImportReport)
_FEEDBACK = TypeAdapter(Feedback)
_RESULT = TypeAdapter(Result)


@dataclass(frozen=True, slots=True)
class Ask(Generic[Answer]):
    """One request, and how the body of its answer is read."""

    call: Call
    read: Callable[[bytes], Answer]


@dataclass(frozen=True, slots=True)
class Page(Generic[Answer]):
    """A part of a list; the next one is after `last_id`, if there is one."""

    data: list[Answer]
    last_id: str | None


@dataclass(frozen=True, slots=True)
class Campaign:
    """One prompt for many users: `{name}` stands for an attribute of the profile, and `{name|default}` has a default.

    Give exactly one audience: `user_ids`, `everyone`, or tags: profiles with any of `tags`, with all of `all_tags`, and
    with none of `no_tags`. `exclude` takes users out of it. `missing="skip"` leaves out who lacks an attribute.
    """

    prompt: str
    tags: Sequence[str] = ()
    user_ids: Sequence[str] = ()
    everyone: bool = False
    all_tags: Sequence[str] = ()
    no_tags: Sequence[str] = ()
    exclude: Sequence[str] = ()
    missing: str = "refuse"
    literal_braces: bool = False

    @property
    def body(self) -> dict[str, object]:
        """What is sent; the server checks it."""
        tags: object = list(self.tags)
        if self.all_tags or self.no_tags:
            stated = {"any": list(self.tags), "all": list(self.all_tags), "none": list(self.no_tags)}
            tags = {name: value for name, value in stated.items() if value}
        audiences: dict[str, object] = {
            "tags": tags,
            "user_ids": list(self.user_ids),
            "all": self.everyone,
            "exclude": list(self.exclude),
        }
        others = {"missing": self.missing} if self.missing != "refuse" else {}
        braces = {"literal_braces": True} if self.literal_braces else {}
        audience = {name: value for name, value in audiences.items() if value}
        return {"prompt": self.prompt, "audience": audience, **others, **braces}


class Said(TypedDict, total=False):
    """What may be said of a job, as `Client.submit` takes it."""

    model: str | None
    defaults: Mapping[str, object] | None
    metadata: Mapping[str, str] | None
    priority: str | None
    completion_window: str | None
    not_before: dt.datetime | None
    name: str | None
    holdout: float | None
    holdout_seed: int | None


def options_of(said: Said) -> dict[str, object]:
    """The same as `job_options`, of what is said alone."""
    return job_options(
        model=said.get("model"),
        defaults=said.get("defaults"),
        metadata=said.get("metadata"),
        priority=said.get("priority"),
        completion_window=said.get("completion_window"),
        not_before=said.get("not_before"),
        name=said.get("name"),
        holdout=said.get("holdout"),
        holdout_seed=said.get("holdout_seed"),
    )


def job_options(
    *,
    model: str | None,
    defaults: Mapping[str, object] | None,
    metadata: Mapping[str, str] | None,
    priority: str | None,
    completion_window: str | None,
    not_before: dt.datetime | None,
    name: str | None = None,
    holdout: float | None = None,
    holdout_seed: int | None = None,
) -> dict[str, object]:
    """What a job says once for all of its items, without what is unsaid."""
    stated: dict[str, object] = {
        "model": model,
        "defaults": dict(defaults or {}) or None,
        "metadata": dict(metadata or {}) or None,
        "priority": priority,
        "completion_window": completion_window,
        "not_before": None if not_before is None else not_before.isoformat(),
        "name": name,
        "holdout": holdout,
        "holdout_seed": holdout_seed,
    }
    return {option: value for option, value in stated.items() if value is not None}


def submit_campaign(campaign: Campaign, options: Mapping[str, object], key: str | None) -> Ask[Job]:
    """The call that submits a campaign, and how its answer is read."""
    headers = {IDEMPOTENCY_KEY: key or uuid.uuid4().hex}
    return Ask(Call("POST", "/v1/jobs", headers=headers, json={**campaign.body, **options}), _JOB.validate_json)


def submit_items(body: OpenBody, key: str | None) -> Ask[Job]:
    """The call that submits the items of an NDJSON body, and how its answer is read."""
    headers = {IDEMPOTENCY_KEY: key or uuid.uuid4().hex, "Content-Type": ndjson.MEDIA_TYPE}
    return Ask(Call("POST", "/v1/jobs", headers=headers, open_body=body), _JOB.validate_json)


def rehearse_campaign(campaign: Campaign, options: Mapping[str, object]) -> Ask[DryRun]:
    """The call for a campaign's dry run, and how its answer is read."""
    call = Call("POST", "/v1/jobs", params=DRY, json={**campaign.body, **options}, repeats_safely=True)
    return Ask(call, _DRY_RUN.validate_json)


def rehearse_items(body: OpenBody) -> Ask[DryRun]:
    """The call that checks an NDJSON body as a submission would, and stores nothing."""
    headers = {"Content-Type": ndjson.MEDIA_TYPE}
    call = Call("POST", "/v1/jobs", params=DRY, headers=headers, open_body=body, repeats_safely=True)
    return Ask(call, _DRY_RUN.validate_json)


def job(job_id: str) -> Ask[Job]:
    """The call that reads a job as it stands."""
    return Ask(Call("GET", _job_path(job_id)), _JOB.validate_json)


def jobs(state: str | None, page_size: int, after: str | None, name: str | None = None) -> Ask[Page[Job]]:
    """The call that reads a page of jobs, the newest first."""
    params = _stated({"limit": page_size, "state": state, "after": after, "name": name})
    return Ask(Call("GET", "/v1/jobs", params=params), _page_of(_JOBS))


def act(job_id: str, action: str, body: Mapping[str, object] | None = None) -> Ask[Job]:
    """One of `cancel`, `pause`, `resume`, `priority`, `retry` and `readdress`: each may be said twice."""
    call = Call("POST", f"{_job_path(job_id)}/{action}", json=body, repeats_safely=True)
    return Ask(call, _JOB.validate_json)


def delete_job(job_id: str) -> Ask[None]:
    """The call that removes an ended job."""
    return Ask(Call("DELETE", _job_path(job_id)), _nothing)


def models() -> Ask[list[Model]]:
    """The call that lists every registered model."""
    return Ask(Call("GET", "/v1/models"), lambda body: _MODELS.validate_python(json.loads(body)["data"]))


def results(job_id: str, state: str | None, after: int | None) -> Call:
    """The call that streams results as NDJSON, those behind position `after`."""
    params = _stated({"state": state, "after": after})
    return Call("GET", f"{_job_path(job_id)}/results", params=params, headers={"Accept": ndjson.MEDIA_TYPE})


def results_csv(job_id: str, state: str | None) -> Call:
    """The call that streams all results as CSV, which begins with a byte order mark, for spreadsheets."""
    params = {**_stated({"state": state, "format": "csv"}), "bom": True}
    return Call("GET", f"{_job_path(job_id)}/results", params=params)


def job_events(job_id: str, last_id: str | None) -> Call:
    """The call that streams a job's server-sent events, those behind the event of this id."""
    headers = {"Accept": "text/event-stream", **({} if last_id is None else {"Last-Event-ID": last_id})}
    return Call("GET", f"{_job_path(job_id)}/events", headers=headers)


def read_job(data: str) -> Job:
    """The job that stands in an event's data, as JSON."""
    return _JOB.validate_json(data)


def read_result(line: str) -> Result:
    """The result in a line of NDJSON."""
    return _RESULT.validate_json(line)


def partial_refused(job_id: str) -> Callable[[httpx.Headers], None]:
    """A check of an answer's headers that refuses the results of a job that has not ended."""

    def check(headers: httpx.Headers) -> None:
        if headers.get(INCOMPLETE) == "true":
            raise IncompleteResultsError(NOT_ENDED.format(job_id=job_id))

    return check


def profile(user_id: str) -> Ask[Profile]:
    """The call that reads a profile's newest version."""
    return Ask(Call("GET", _profile_path(user_id)), _PROFILE.validate_json)


def profile_body(
    *,
    principles: Iterable[str | Principle],
    method: str | None,
    strength: float | None,
    max_kl: float | None,
    examples: Iterable[str],
    attributes: Mapping[str, str] | None,
    tags: Sequence[str],
    metadata: Mapping[str, str] | None,
    learn: bool,
) -> dict[str, object]:
    """The JSON body of a whole profile: what is None or empty is not in the profile."""
    return {
        "principles": [entry if isinstance(entry, str) else asdict(entry) for entry in principles],
        "method": method,
        "strength": strength,
        "max_kl": max_kl,
        "examples": list(examples),
        "attributes": dict(attributes or {}),
        "tags": list(tags),
        "metadata": dict(metadata or {}),
        "learn": learn,
    }


def put_profile(user_id: str, body: Mapping[str, object], if_match: str | None) -> Ask[Profile]:
    """The call that creates or replaces a profile."""
    call = Call("PUT", _profile_path(user_id), headers=_expecting(if_match), json=dict(body))
    return Ask(call, _PROFILE.validate_json)


def patch_profile(user_id: str, changes: Mapping[str, object], if_match: str | None) -> Ask[Profile]:
    """The call that merges changes into a profile (RFC 7396)."""
    headers = {**_expecting(if_match), "Content-Type": MERGE_PATCH}
    return Ask(Call("PATCH", _profile_path(user_id), headers=headers, json=dict(changes)), _PROFILE.validate_json)


def delete_profile(user_id: str, if_match: str | None) -> Ask[None]:
    """The call that removes a profile with its versions."""
    return Ask(Call("DELETE", _profile_path(user_id), headers=_expecting(if_match)), _nothing)


def profiles(tags: Sequence[str], page_size: int, after: str | None) -> Ask[Page[Profile]]:
    """The call that reads a page of profiles, by user id."""
    params = {**_stated({"limit": page_size, "after": after}), "tag": list(tags)}
    return Ask(Call("GET", "/v1/profiles", params=params), _page_of(_PROFILES))


def import_profiles(body: ndjson.Body, columns: Mapping[str, str], *, dry_run: bool) -> Ask[ImportReport]:
    """The call that creates or changes the profiles of an NDJSON or CSV body."""
    headers, params = {"Content-Type": body.media_type}, dict[str, Param | list[str]]({"dry_run": dry_run})
    if body.media_type == ndjson.CSV:
        params["column"] = [f"{column}={field}" for column, field in columns.items()]
    call = Call(
        "POST", "/v1/profiles:import", params=params, headers=headers, open_body=body.chunks, repeats_safely=True
    )
    return Ask(call, _REPORT.validate_json)


def export_profiles(tags: Sequence[str]) -> Call:
    """The call that exports profiles as lines of NDJSON."""
    return Call("GET", "/v1/profiles:export", params={"tag": list(tags)})


def give_feedback(
    user_id: str, pairs: Iterable[Mapping[str, object]], ratings: Iterable[Mapping[str, object]], model: str | None
) -> Ask[Feedback]:
    """The call that stores pairs and ratings; a pair is stored once, however often it is sent."""
    body: dict[str, object] = {"pairs": [dict(pair) for pair in pairs], "ratings": [dict(each) for each in ratings]}
    if model is not None:
        body["model"] = model
    call = Call("POST", f"{_profile_path(user_id)}/feedback", json=body, repeats_safely=True)
    return Ask(call, _FEEDBACK.validate_json)


def feedback(user_id: str) -> Ask[Feedback]:
    """The call that counts what is stored of a user's feedback, and tells of the newest fit to it."""
    return Ask(Call("GET", f"{_profile_path(user_id)}/feedback"), _FEEDBACK.validate_json)


def withdraw_feedback(user_id: str) -> Ask[None]:
    """The call that deletes a user's feedback."""
    return Ask(Call("DELETE", f"{_profile_path(user_id)}/feedback"), _nothing)


def _page_of(adapter: TypeAdapter[list[Answer]]) -> Callable[[bytes], Page[Answer]]:
    def read(body: bytes) -> Page[Answer]:
        page = json.loads(body)
        return Page(adapter.validate_python(page["data"]), page["last_id"] if page["has_more"] else None)

    return read


def _nothing(_body: bytes) -> None:
    return None


def _stated(params: Mapping[str, str | int | None]) -> Params:
    return {name: value for name, value in params.items() if value is not None}


def _job_path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _profile_path(user_id: str) -> str:
    return f"/v1/profiles/{quote(user_id, safe='')}"


def _expecting(if_match: str | None) -> dict[str, str]:
    return {} if if_match is None else {"If-Match": if_match}
