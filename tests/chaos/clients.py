"""The client of a chaos run: submits jobs at an even pace, does to each what its kind says, and repeats what fails."""

import datetime as dt
import heapq
import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

import httpx

from tests.chaos.jobs import Kind, Submitted, deck_of

PATIENCE_SECONDS = 180.0
REST_SECONDS = 0.3
LOOK_SECONDS = 0.5
PAUSE_SECONDS = (0.5, 3.0)
DELAY_SECONDS = (1.0, 3.0)
WINDOW = "2s"
FAIL_EVERY = 10
PRINCIPLES = ("formal", "playful", "brief")
PRIORITIES = ("interactive", "normal", "bulk")
PASSING = {httpx.codes.TOO_MANY_REQUESTS} | set(range(500, 600))


@dataclass
class Client:
    """Submits from a thread of its own."""

    connect: Callable[[], httpx.Client]
    folder: Path
    """For the marks of items that fail once."""
    draws: random.Random
    num_items: int
    num_jobs: int
    seconds: float
    slow_share: float
    """Of the items: each keeps a worker busy for a moment, so that there is something to hurt."""
    submitted: list[Submitted] = field(default_factory=list)
    _due: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: "count[int]" = field(default_factory=count)
    _thread: threading.Thread | None = None
    _error: BaseException | None = None

    def start(self) -> None:
        """Begin; the profiles are stored first."""
        for number, principle in enumerate(PRINCIPLES):
            body = {"principles": [{"text": principle}], "method": "contrast", "strength": 1.0}
            self._insist("PUT", f"/v1/profiles/user-{number}", body)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait until everything is accepted and done; raises what went wrong."""
        if self._thread is not None:
            self._thread.join(seconds)
        if self._error is not None:
            raise self._error
        assert len(self.submitted) == self.num_jobs, f"{len(self.submitted)} of {self.num_jobs} jobs were accepted"

    @property
    def is_done(self) -> bool:
        return self._thread is not None and not self._thread.is_alive()

    @property
    def num_kept(self) -> int:
        """How many items are to be there in the end."""
        return sum(len(job.prompts) for job in self.submitted if job.kind is not Kind.DELETED)

    def _run(self) -> None:
        began = time.monotonic()
        for number, kind in enumerate(deck_of(self.draws, self.num_jobs)):
            self._at(began + number * self.seconds / self.num_jobs, partial(self._submit, number, kind))
        try:
            while self._due:
                moment, _, act = heapq.heappop(self._due)
                time.sleep(max(0.0, moment - time.monotonic()))
                act()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            self._error = error

    def _at(self, moment: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._due, (moment, next(self._order), act))

    def _submit(self, number: int, kind: Kind) -> None:
        prompts = self._prompts(number, kind)
        items = [
            {"custom_id": f"item-{place}", "user_id": f"user-{place % len(PRINCIPLES)}", "prompt": prompt}
            for place, prompt in enumerate(prompts)
        ]
        options: dict[str, str] = {"priority": self.draws.choice(PRIORITIES)}
        if kind is Kind.LATER:
            delay = dt.timedelta(seconds=self.draws.uniform(*DELAY_SECONDS))
            options["not_before"] = (dt.datetime.now(dt.UTC) + delay).isoformat().replace("+00:00", "Z")
        if kind is Kind.OVERTAKEN:
            options["completion_window"] = WINDOW
        # The key is what makes it one job, however often it is sent.
        job = self._insist("POST", "/v1/jobs", {"items": items, **options}, {"Idempotency-Key": str(uuid.uuid4())})
        self.submitted.append(Submitted(str(job["id"]), kind, prompts, options.get("not_before")))
        self._follow_up(kind, f"/v1/jobs/{job['id']}")

    def _prompts(self, number: int, kind: Kind) -> list[str]:
        size = self.num_items // self.num_jobs + (number < self.num_items % self.num_jobs)
        prompts = [f"{self._pace(place)} {number} {place}" for place in range(size)]
        if kind is Kind.FAILING:
            for place in range(0, size, FAIL_EVERY):
                prompts[place] = f"once:{self.folder / f'mark-{number}-{place}'} fail"
        if kind is Kind.POISONED:
            prompts[self.draws.randrange(size)] = "kill"
        return prompts

    def _follow_up(self, kind: Kind, path: str) -> None:
        """Now, or when it is time."""
        if kind is Kind.CANCELLED:
            self._insist("POST", f"{path}/cancel")  # or it is completed already
        elif kind is Kind.PAUSED:
            self._insist("POST", f"{path}/pause")
            resume = partial(self._insist, "POST", f"{path}/resume")
            self._at(time.monotonic() + self.draws.uniform(*PAUSE_SECONDS), lambda: void(resume()))
        elif kind is Kind.OVERTAKEN:
            self._insist("POST", f"{path}/pause")  # so that something is left for its deadline
            self._when_ended(path, lambda: self._try_again(path))
        elif kind is Kind.FAILING:
            self._when_ended(path, lambda: self._try_again(path))
        elif kind is Kind.DELETED:
            self._when_ended(path, lambda: void(self._insist("DELETE", path)))

    def _when_ended(self, path: str, act: Callable[[], None]) -> None:
        """Look now and then, and do it once the job has ended."""

        def look() -> None:
            if self._insist("GET", path)["finished_at"] is None:
                self._at(time.monotonic() + LOOK_SECONDS, look)
            else:
                act()

        look()

    def _try_again(self, path: str) -> None:
        """What has failed; a job that was paused goes on with it."""
        job = self._insist("POST", f"{path}/retry")
        if job.get("paused_at") is not None:
            self._insist("POST", f"{path}/resume")

    def _pace(self, place: int) -> str:
        """Slow ones at even distances."""
        return "slow" if int((place + 1) * self.slow_share) > int(place * self.slow_share) else "quick"

    def _insist(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> dict[str, object]:
        """Send it until it is answered."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with self.connect() as client:
                    response = client.request(method, path, json=body, headers=headers, timeout=10)
                if response.status_code not in PASSING:
                    # What was done is no longer there to be done, where the first answer was lost.
                    is_done = response.status_code in {httpx.codes.CONFLICT, httpx.codes.NOT_FOUND}
                    assert response.is_success or is_done, response.text
                    answer: dict[str, object] = response.json() if response.content else {}
                    return answer
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, f"not answered: {method} {path}"
            time.sleep(REST_SECONDS)


def void(_answer: object) -> None:
    """Nobody asks what was answered."""
