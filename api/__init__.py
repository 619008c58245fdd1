"""The HTTP API. Imports `db` and `worker.queue` only; never torch."""
