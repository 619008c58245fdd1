"""A span for each attempt, from its claim to its end, in the trace of its job. Costs nothing where traces are off."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from domain.attempts import Attempt, ClaimedItem, Outcome
from telemetry import tracing

if TYPE_CHECKING:
    from opentelemetry.trace import Span

GIVEN_BACK = "given back"


class AttemptSpans:
    """The open spans of the attempts that are under way, by attempt."""

    def __init__(self) -> None:
        self._spans: dict[Attempt, Span] = {}

    def begin(self, items: Iterable[ClaimedItem]) -> None:
        """Open a span for each item that was just claimed."""
        if not tracing.is_on():
            return
        for item in items:
            self._spans[item.attempt_key] = tracing.begin(
                "decode", item.job_id, job_id=str(item.job_id), item_id=item.item_id, attempt=item.attempt
            )

    def end(self, outcomes: Iterable[Outcome]) -> None:
        """End the spans of these outcomes, with how they ended, their tokens, and the engine's times."""
        if not self._spans:
            return
        for outcome in outcomes:
            span = self._spans.pop(outcome.key, None)
            if span is not None:
                span.set_attribute("padserve.outcome", outcome.error_code or outcome.finish_reason or "stop")
                span.set_attribute("padserve.prompt_tokens", outcome.num_prompt_tokens or 0)
                span.set_attribute("padserve.completion_tokens", outcome.num_completion_tokens or 0)
                if outcome.timing is not None:
                    span.set_attribute("padserve.engine.queue_seconds", outcome.timing.queue_seconds)
                    span.set_attribute("padserve.engine.prefill_seconds", outcome.timing.prefill_seconds)
                    span.set_attribute("padserve.engine.decode_seconds", outcome.timing.decode_seconds)
                span.end()

    def abandon(self, attempts: Iterable[Attempt]) -> None:
        """End the spans of attempts that were given back or taken away, with `given back` as their outcome."""
        if not self._spans:
            return
        for attempt in attempts:
            if (span := self._spans.pop(attempt, None)) is not None:
                span.set_attribute("padserve.outcome", GIVEN_BACK)
                span.end()
