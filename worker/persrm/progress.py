"""What a person reads while a stage trains: one line every few steps."""

import sys
import time

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class Progress(TrainerCallback):
    """Steps, loss, pairs ranked correctly, and the time that is left."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._started_at = 0.0
        self._first_step = 0

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002 (the trainer's signature)
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_others: object,
    ) -> None:
        """Say how much there is to do."""
        self._started_at, self._first_step = time.monotonic(), state.global_step
        after = f", after {state.global_step} that an earlier run made" if state.global_step else ""
        self._say(f"{state.max_steps - state.global_step} steps{after}")

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, float] | None = None,
        **_others: object,
    ) -> None:
        """Print step, loss and the time that is left."""
        if not logs or "loss" not in logs:
            return
        num_steps = state.global_step - self._first_step
        seconds_left = (time.monotonic() - self._started_at) / num_steps * (state.max_steps - state.global_step)
        self._say(
            f"step {state.global_step} of {state.max_steps}, loss {logs['loss']:.3f}, "
            f"{logs['rewards/accuracies']:.0%} of its pairs ranked correctly, {seconds_left / 60:.1f} minutes left"
        )

    def _say(self, text: str) -> None:
        sys.stdout.write(f"{self._stage}: {text}\n")
        sys.stdout.flush()
