"""A request while it is decoded: its streams, what was generated so far, and when it ends."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from statistics import fmean

from torch import Tensor

from worker.engine.request import Completion, Failure, FinishReason, Request, Timing
from worker.engine.streams import GuidedStream


@dataclass(frozen=True, slots=True)
class Chosen:
    """A token that the device has chosen for a sequence."""

    token_id: int
    reward: float
    """r_t of it, in nats."""
    kl: float
    """KL(guided || base) at this step, in nats."""
    is_finite: bool
    """False where the logits were broken and the rest means nothing."""


@dataclass(frozen=True, slots=True)
class History:
    """The tokens of a sequence, as penalties look at them."""

    counts: Tensor
    """[V], int32: 1 for a token of the prompt, and 2 for each time that it was chosen."""
    seen: Tensor
    """[L], the tokens of the prompt, each once, then those that were chosen, then room for those that are to come."""
    num_of_prompt: int
    """How many of these the prompt has."""


class Sequence:
    """The one carrier of a request's state; its rows in the cache belong to the runners."""

    def __init__(self, request: Request, streams: tuple[GuidedStream, ...]) -> None:
        self.request = request
        self.streams = streams
        self.token_ids: list[int] = []
        self.num_chosen = 0
        """Tokens that the device has chosen; the host may not have seen the last one yet."""
        self.history: History | None = None
        """Where penalties ask for it. On the device: the host does not know the last token yet when it counts."""
        self._rewards: list[float] = []
        self._kls: list[float] = []
        self._added_at = time.monotonic()
        self._begun_at: float | None = None
        self._first_token_at: float | None = None

    @property
    def num_generated(self) -> int:
        """Tokens chosen so far, as the host knows."""
        return len(self._rewards)

    @property
    def is_guided(self) -> bool:
        """Whether anything but the base stream's own likelihood decides."""
        return any(stream.reward for stream in self.streams)

    def begin(self) -> None:
        """Its prompt is being read from now on; only the first call counts."""
        if self._begun_at is None:
            self._begun_at = time.monotonic()

    def restart(self) -> None:
        """Forget what was generated. The noise is counted from the prompt, so the second run gives the same answer."""
        self.token_ids.clear()
        self.num_chosen = 0
        self.history = None
        self._rewards.clear()
        self._kls.clear()
        self._first_token_at = None

    def advance(self, chosen: Chosen, eos_token_ids: Collection[int]) -> Completion | Failure | None:
        """Take the chosen token; the outcome if it was the last, or if it means nothing."""
        if not chosen.is_finite:
            message = f"A stream's logits are not finite at completion token {self.num_generated}."
            return self._failure("non_finite_logits", message)
        if self._first_token_at is None:
            self._first_token_at = time.monotonic()
        self._rewards.append(chosen.reward)
        self._kls.append(chosen.kl)
        if chosen.token_id in eos_token_ids:
            return self._completion(len(self.token_ids), FinishReason.STOP, chosen.token_id)
        self.token_ids.append(chosen.token_id)
        try:
            num_kept = self._num_kept()
        except Exception as error:  # noqa: BLE001 (the caller's code: it fails its own request, not the batch)
            return self._failure("stop_condition_failed", f"The stop condition raised {type(error).__name__}: {error}.")
        if num_kept is not None:
            return self._completion(num_kept, FinishReason.STOP)
        if len(self.token_ids) == self.request.max_tokens:
            return self._completion(self.request.max_tokens, FinishReason.LENGTH)
        return None

    def cut_off(self) -> Completion:
        """The outcome where a guide can read no further: what there is, as if max_tokens had been reached."""
        return self._completion(len(self.token_ids), FinishReason.LENGTH)

    def _failure(self, code: str, message: str) -> Failure:
        """The outcome of a request that cannot be decoded any further."""
        return Failure(self.request.request_id, code, message)

    def _num_kept(self) -> int | None:
        """What the stop condition says; it is not asked before the completion may end."""
        if self.request.stop is None or len(self.token_ids) < self.request.min_tokens:
            return None
        return self.request.stop(self.token_ids)

    def _completion(self, num_kept: int, finish_reason: FinishReason, end_token_id: int | None = None) -> Completion:
        return Completion(
            request_id=self.request.request_id,
            token_ids=tuple(self.token_ids[: max(0, num_kept)]),
            finish_reason=finish_reason,
            num_prompt_tokens=len(self.request.streams[0].prompt),
            num_completion_tokens=self.num_generated,
            reward=sum(self._rewards) if self.is_guided else None,
            rewards=tuple(self._rewards) if self.is_guided and self.request.return_rewards else None,
            kl=fmean(self._kls) if self.is_guided and self._kls else None,
            end_token_id=end_token_id,
            timing=self._timing(),
        )

    def _timing(self) -> Timing | None:
        if self._begun_at is None or self._first_token_at is None:
            return None
        return Timing(
            queue_seconds=self._begun_at - self._added_at,
            prefill_seconds=self._first_token_at - self._begun_at,
            decode_seconds=time.monotonic() - self._first_token_at,
        )
