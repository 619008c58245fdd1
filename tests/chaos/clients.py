"""The client of a chaos run: submits jobs at an even pace, cancels a few, and repeats whatever was not answered."""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

PATIENCE_SECONDS = 180.0
CANCEL_EVERY = 8
REST_SECONDS = 0.3
PRINCIPLES = ("formal", "playful", "brief")
TOO_MANY = 429


@dataclass(frozen=True, slots=True)
class Submitted:
    """One job that the API has accepted."""

    job_id: str
    prompts: list[str]
    is_cancelled: bool
    """Whether it was asked for: the job may have been completed before."""


@dataclass
class Client:
    """Submits from a thread of its own."""

    connect: Callable[[], httpx.Client]
    num_items: int
    num_jobs: int
    seconds: float
    slow_share: float
    """Of the items: each keeps a worker busy for a moment, so that there is something to hurt."""
    submitted: list[Submitted] = field(default_factory=list)
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
        """Wait until everything is accepted; raises what went wrong."""
        if self._thread is not None:
            self._thread.join(seconds)
        if self._error is not None:
            raise self._error
        assert len(self.submitted) == self.num_jobs, f"{len(self.submitted)} of {self.num_jobs} jobs were accepted"

    @property
    def is_done(self) -> bool:
        return self._thread is not None and not self._thread.is_alive()

    def _run(self) -> None:
        began = time.monotonic()
        try:
            for number in range(self.num_jobs):
                time.sleep(max(0.0, began + number * self.seconds / self.num_jobs - time.monotonic()))
                self._submit(number)
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            self._error = error

    def _submit(self, number: int) -> None:
        size = self.num_items // self.num_jobs + (number < self.num_items % self.num_jobs)
        prompts = [f"{self._pace(place)} {number} {place}" for place in range(size)]
        items = [
            {"custom_id": f"item-{place}", "user_id": f"user-{place % len(PRINCIPLES)}", "prompt": prompt}
            for place, prompt in enumerate(prompts)
        ]
        # The key is what makes it one job, however often it is sent.
        job = self._insist("POST", "/v1/jobs", {"items": items}, {"Idempotency-Key": str(uuid.uuid4())})
        is_cancelled = number % CANCEL_EVERY == CANCEL_EVERY - 1
        self.submitted.append(Submitted(str(job["id"]), prompts, is_cancelled))
        if is_cancelled:
            self._insist("POST", f"/v1/jobs/{job['id']}/cancel")  # or it is completed already

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
                if response.status_code < httpx.codes.INTERNAL_SERVER_ERROR and response.status_code != TOO_MANY:
                    assert response.is_success or response.status_code == httpx.codes.CONFLICT, response.text
                    answer: dict[str, object] = response.json()
                    return answer
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline, f"not answered: {method} {path}"
            time.sleep(REST_SECONDS)
