"""What keeps a worker at its work, and its sweeps complete: what is saved when, tried again, looked for and removed."""

from tests.mutations.mechanism import Mechanism

_DECODING = "tests/worker/pipeline/test_decoding.py"
_RECONCILER = ("tests/worker/pipeline/test_reconciler.py",)

WORK = (
    Mechanism(
        "no further try of what has seen enough deaths",
        "worker/pipeline/decoding.py",
        (("        self._supervisor.cancel(given_up)\n", ""),),
        (f"{_DECODING}::test_an_item_that_has_seen_enough_deaths_is_not_tried_again",),
    ),
    Mechanism(
        "what is finished is saved when nothing is left to decode",
        "worker/pipeline/decoding.py",
        (("if self._next_save.is_due() or not self._supervisor.num_items:", "if self._next_save.is_due():"),),
        (f"{_DECODING}::test_what_is_finished_is_saved_at_once_where_nothing_is_left_to_decode",),
    ),
    Mechanism(
        "the pause between two looks for a fit",
        "worker/pipeline/decoding.py",
        (("        self._slice_end.restart(self._policy.heartbeat_seconds)  # when to look again\n", ""),),
        (f"{_DECODING}::test_a_slice_that_is_over_goes_on_while_nothing_else_waits",),
    ),
    Mechanism(
        "a second try of a write that fails at the end",
        "worker/pipeline/decoding.py",
        (("        self._waiting_out(lambda: self._saving.hear(None))\n", ""),),
        (f"{_DECODING}::test_what_a_worker_was_saving_when_it_was_told_to_end_is_saved_although_that_failed",),
    ),
    Mechanism(
        "no verdict on an outcome by a fault that passes",
        "worker/pipeline/saving.py",
        (
            (
                "                if is_passing(error):\n                    raise\n                log.error",
                "                log.error",
            ),
        ),
        ("tests/worker/pipeline/test_saving.py",),
    ),
    Mechanism(
        "the end of stored answers",
        "worker/pipeline/reconciler.py",
        (("            idempotency.forget_expired(session)\n", "            pass\n"),),
        _RECONCILER,
    ),
    Mechanism(
        "the end of files",
        "worker/pipeline/reconciler.py",
        (("                files.remove_expired(session, file_id)\n", "                pass\n"),),
        _RECONCILER,
    ),
    Mechanism(
        "the turns of jobs that are audited",
        "worker/pipeline/reconciler.py",
        (("after=self._audited)", "after=None)"),),
        _RECONCILER,
    ),
    Mechanism(
        "the next word of a worker that could not say one",
        "worker/pipeline/presence.py",
        (("            except Exception:\n", "            except ZeroDivisionError:\n"),),
        ("tests/worker/pipeline/test_presence.py",),
    ),
    Mechanism(
        "another turn for what one has left",
        "worker/pipeline/turns.py",
        (
            (
                "                if self.take():\n                    self.ask()\n",
                "                self.take()\n",
            ),
        ),
        ("tests/worker/test_tasks.py",),
    ),
)
