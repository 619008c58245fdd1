"""The profiles of one server, as `client.profiles`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from urllib.parse import quote

from pydantic import TypeAdapter

from padserve import ndjson
from padserve.answers import Feedback, ImportReport, Principle, Profile
from padserve.ndjson import Source
from padserve.transport import Call, Params, Transport

MERGE_PATCH = "application/merge-patch+json"

_PROFILE = TypeAdapter(Profile)
_PROFILES = TypeAdapter(list[Profile])
_REPORT = TypeAdapter(ImportReport)
_FEEDBACK = TypeAdapter(Feedback)


class Profiles:
    """Stored preferences by user id. Every change makes a new version; a change that changes nothing makes none."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, user_id: str) -> Profile:
        """The newest version."""
        return self._profile(Call("GET", _path(user_id)))

    def put(
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
        body: dict[str, object] = {
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
        return self.put_body(user_id, body, if_match=if_match)

    def put_body(self, user_id: str, body: Mapping[str, object], *, if_match: str | None = None) -> Profile:
        """The same from a JSON object."""
        return self._profile(Call("PUT", _path(user_id), headers=_expecting(if_match), json=dict(body)))

    def patch(self, user_id: str, changes: Mapping[str, object], *, if_match: str | None = None) -> Profile:
        """Merge changes into the profile (RFC 7396): None removes, lists are replaced."""
        headers = {**_expecting(if_match), "Content-Type": MERGE_PATCH}
        return self._profile(Call("PATCH", _path(user_id), headers=headers, json=dict(changes)))

    def delete(self, user_id: str, *, if_match: str | None = None) -> None:
        """Remove the profile with all its versions."""
        self._transport.request(Call("DELETE", _path(user_id), headers=_expecting(if_match)))

    def give_feedback(
        self,
        user_id: str,
        *,
        pairs: Iterable[Mapping[str, object]] = (),
        ratings: Iterable[Mapping[str, object]] = (),
    ) -> Feedback:
        """Say what the user preferred; the weights of the profile's principles are fitted to it in the background.

        A pair has `prompt` or `messages`, `chosen` and `rejected`; a rating has `job_id`, `custom_id` and `rating`. The
        profile must say `learn: true`. Two texts for one prompt, rated differently at whatever time, make a pair. Safe
        to repeat: a pair is stored once.
        """
        body = {"pairs": [dict(pair) for pair in pairs], "ratings": [dict(rating) for rating in ratings]}
        call = Call("POST", f"{_path(user_id)}/feedback", json=body, repeats_safely=True)
        return _FEEDBACK.validate_json(self._transport.request(call).content)

    def feedback(self, user_id: str) -> Feedback:
        """How many pairs and ratings are stored, and how the newest fit to them stands."""
        return _FEEDBACK.validate_json(self._transport.request(Call("GET", f"{_path(user_id)}/feedback")).content)

    def withdraw_feedback(self, user_id: str) -> None:
        """Forget every stored pair and rating; the profile keeps the weights that were learnt so far."""
        self._transport.request(Call("DELETE", f"{_path(user_id)}/feedback"))

    def list(self, *, tags: Sequence[str] = (), page_size: int = 100) -> Iterator[Profile]:
        """Every profile, or those with any of the tags, by user id; pages are read as they are needed."""
        params: Params = {"limit": page_size, "tag": list(tags)}
        while True:
            page = self._transport.request(Call("GET", "/v1/profiles", params=params)).json()
            yield from _PROFILES.validate_python(page["data"])
            if not page["has_more"]:
                return
            params = {**params, "after": page["last_id"]}

    def import_(self, source: Source, *, dry_run: bool = False) -> ImportReport:
        """Create or replace one profile per entry: JSON objects with `user_id`, an NDJSON file or its path.

        All or nothing. A dry run only says what would happen.
        """
        headers = {"Content-Type": ndjson.MEDIA_TYPE}
        params: Params = {"dry_run": dry_run}
        with ndjson.opened(source) as body:
            call = Call(
                "POST",
                "/v1/profiles:import",
                params=params,
                headers=headers,
                open_body=body.chunks,
                repeats_safely=True,
            )
            return _REPORT.validate_json(self._transport.request(call).content)

    def export_lines(self, *, tags: Sequence[str] = ()) -> Iterator[str]:
        """Every profile, or those with any of the tags, as NDJSON lines that `import_` takes."""
        return self._transport.lines(Call("GET", "/v1/profiles:export", params={"tag": list(tags)}))

    def _profile(self, call: Call) -> Profile:
        return _PROFILE.validate_json(self._transport.request(call).content)


def _path(user_id: str) -> str:
    return f"/v1/profiles/{quote(user_id, safe='')}"


def _expecting(if_match: str | None) -> dict[str, str]:
    return {} if if_match is None else {"If-Match": if_match}
