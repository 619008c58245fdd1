"""Reading a job's server-sent events: where a stream that broke is taken up, and how often one may break."""

from padserve.client import endpoints
from padserve.client.answers import Job

RETRY_SECONDS = 2.0


class EventReading:
    """One job's events, over as many connections as it takes."""

    def __init__(self, max_breaks: int) -> None:
        self.last_id: str | None = None
        self._max_breaks = max_breaks
        self._num_breaks = 0
        self._is_of_job = False
        self._id: str | None = None

    def take(self, line: str) -> Job | None:
        """The job, where the line completes an event that tells of it."""
        name, _, value = line.rstrip("\r").partition(": ")
        if name == "event":
            self._is_of_job, self._id = value in {"status", "end"}, None
        elif name == "id":
            self._id = value
        elif name == "data" and self._is_of_job:
            self.last_id, self._num_breaks = self._id, 0
            return endpoints.read_job(value)
        return None

    def may_go_on(self) -> bool:
        """Whether a connection that broke, or ended before its time, is made again."""
        self._num_breaks += 1
        return self._num_breaks <= self._max_breaks
