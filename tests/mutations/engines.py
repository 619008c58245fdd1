"""What keeps items from harm when their engine dies, hangs or comes back: the supervisor, triage, and what is saved."""

from tests.mutations.mechanism import Mechanism

ENGINES = (
    Mechanism(
        "the trial of suspects in halves",
        "worker/supervision/triage.py",
        (("self._trials += [suspects[middle:], suspects[:middle]]", "self._trials += [suspects[:0], suspects]"),),
        ("tests/worker/supervision/test_triage.py",),
    ),
    Mechanism(
        "no verdict by one death",
        "worker/supervision/triage.py",
        (("if crashes >= SOLO_CRASHES:", "if crashes >= 1:"),),
        ("tests/worker/supervision/test_triage.py",),
    ),
    Mechanism(
        "nobody else goes in while suspects are tried",
        "worker/supervision/triage.py",
        (("                return []\n            batch", "                pass\n            batch"),),
        ("tests/worker/supervision/test_triage.py",),
    ),
    Mechanism(
        "the bound on an engine's silence",
        "worker/supervision/supervisor.py",
        (("patience = self._silence_seconds if engine.ready", "patience = 1e9 if engine.ready"),),
        (
            "tests/worker/supervision/test_supervisor.py::test_an_engine_that_hangs_is_killed_and_its_items_decoded_again",
        ),
    ),
    Mechanism(
        "the bound on an engine's silence while nobody decodes",
        "worker/supervision/supervisor.py",
        (("self._engine.silent_seconds += seconds", "self._engine.silent_seconds += 0"),),
        (
            "tests/worker/supervision/test_supervisor.py::test_an_engine_that_falls_silent_while_it_has_nothing_to_do_is_begun_anew",
        ),
    ),
    Mechanism(
        "the watch over an idle engine",
        "worker/pipeline/turns.py",
        (("                self._watch_engine(ASK_SECONDS)\n", "                pass\n"),),
        (
            "tests/worker/test_tasks.py",
            "tests/system/test_idle_engine.py",
        ),
    ),
    Mechanism(
        "the word that the engine is loading again",
        "worker/__main__.py",
        (("on_state=self._say,", ""),),
        ("tests/system/test_idle_engine.py",),
    ),
    Mechanism(
        "nothing is sent to a dead engine",
        "worker/supervision/supervisor.py",
        (("if engine.ready and engine.is_alive and (batch", "if engine.ready and (batch"),),
        (
            "tests/worker/supervision/test_supervisor.py::test_work_that_comes_before_an_idle_engines_death_is_noticed_is_not_held_to_have_caused_it",
        ),
    ),
    Mechanism(
        "what an engine told before the end of its pipe",
        "worker/supervision/supervisor.py",
        (("return outcomes + self._recover(engine, metrics.DIED)", "return self._recover(engine, metrics.DIED)"),),
        (
            "tests/worker/supervision/test_supervisor.py::test_what_the_engine_said_before_it_died_is_kept_and_its_death_not_held_against_it",
        ),
    ),
    Mechanism(
        "what an engine told at the last moment",
        "worker/supervision/supervisor.py",
        (("        self._hear(engine.last_reports(), outcomes)\n", ""),),
        ("tests/worker/supervision/test_supervisor.py::test_what_a_silent_engine_said_at_the_last_moment_is_kept",),
    ),
    Mechanism(
        "one attempt of an item in the engine",
        "worker/supervision/supervisor.py",
        (("        self.cancel(attempt for attempt in self.attempts if attempt.item_id in claimed)\n", ""),),
        ("tests/worker/pipeline/test_leases_compared.py",),
    ),
    Mechanism(
        "nothing is heard of what was taken away",
        "worker/supervision/supervisor.py",
        (("[outcome for outcome in ended if self._triage.is_inside(outcome.key)]", "ended"),),
        (
            "tests/worker/supervision/test_supervisor.py::test_what_was_told_of_a_cancelled_item_before_the_engine_knew_is_nobodys",
        ),
    ),
    Mechanism(
        "the number of a question",
        "worker/supervision/supervisor.py",
        (("isinstance(report, Compared) and report.number == self._num_comparisons", "isinstance(report, Compared)"),),
        ("tests/worker/supervision/test_supervisor.py::test_an_answer_to_a_question_that_was_given_up_is_nobodys",),
    ),
    Mechanism(
        "failed starts are counted in a row",
        "worker/supervision/supervisor.py",
        (("self.num_slots, self._failed_starts = num_slots, 0", "self.num_slots = num_slots"),),
        (
            "tests/worker/supervision/test_supervisor.py::test_an_engine_that_has_loaded_may_die_as_often_again_while_it_loads",
        ),
    ),
    Mechanism(
        "an engine that no SIGTERM ends",
        "worker/supervision/engine_process.py",
        (("    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n", ""),),
        ("tests/worker/supervision/test_supervisor.py::test_no_signal_that_reaches_the_whole_group_ends_the_engine",),
    ),
    Mechanism(
        "an engine that no Ctrl-C ends",
        "worker/supervision/engine_process.py",
        (("    signal.signal(signal.SIGINT, signal.SIG_IGN)\n", ""),),
        ("tests/worker/supervision/test_supervisor.py::test_no_signal_that_reaches_the_whole_group_ends_the_engine",),
    ),
    Mechanism(
        "the sign of life of an engine without work",
        "worker/supervision/engine_process.py",
        (("            self._connection.send(Beat())\n", "            pass\n"),),
        ("tests/worker/supervision/test_engine_process.py",),
    ),
    Mechanism(
        "what had ended before a step failed",
        "worker/supervision/engine_process.py",
        (
            (
                "            if self._untold:  # a step that fails takes nothing from those that have ended\n",
                "            if self._untold and self._stopping:\n",
            ),
        ),
        ("tests/worker/supervision/test_engine_process.py",),
    ),
    Mechanism(
        "the same model after a restart",
        "worker/supervision/supervisor.py",
        (("self._description.digest != description.digest", "not description.digest"),),
        (
            "tests/worker/supervision/test_supervisor.py::test_an_engine_that_comes_back_with_another_model_decodes_nothing",
        ),
    ),
    Mechanism(
        "the end of an engine whose worker is gone",
        "worker/supervision/engine_process.py",
        (("        os._exit(0)", "        return"),),
        ("tests/worker/supervision/test_supervisor.py::test_an_engine_that_is_still_loading_ends_with_its_supervisor",),
    ),
    Mechanism(
        "the record of deaths",
        "worker/pipeline/decoding.py",
        (("        self._unrecorded_deaths |= self._supervisor.take_deaths()\n", ""),),
        ("tests/worker/pipeline/test_decoding.py::test_deaths_of_the_engine_are_recorded_for_what_was_being_decoded",),
    ),
    Mechanism(
        "little blame for a death in company",
        "db/queries/losses.py",
        (("        max_deaths = max(max_deaths, MAX_SHARED_DEATHS)\n", "        pass\n"),),
        ("tests/db/test_losses.py",),
    ),
    Mechanism(
        "the bound on leases that end in silence",
        "db/queries/losses.py",
        (("if one.number >= max_silent_leases}", "if one.number < 0}"),),
        ("tests/db/test_losses.py",),
    ),
    Mechanism(
        "what a worker that ends gives back",
        "worker/pipeline/decoding.py",
        (("            self._waiting_out(lambda: self._release(left))\n", "            pass\n"),),
        ("tests/worker/pipeline/test_decoding.py::test_a_worker_without_time_to_drain_gives_its_items_back_untried",),
    ),
    Mechanism(
        "passing faults of the database are waited out",
        "worker/pipeline/decoding.py",
        (
            (
                '            log.warning("database_unavailable", **describe(error))\n            self._next',
                "            raise\n            self._next",
            ),
        ),
        ("tests/worker/pipeline/test_leases_compared.py",),
    ),
    Mechanism(
        "an outcome that the database cannot hold fails alone",
        "worker/pipeline/saving.py",
        (("            self._save_one_by_one(outcomes)\n", "            raise\n"),),
        ("tests/worker/pipeline/test_saving.py",),
    ),
    Mechanism(
        "the end of a worker whose signal Celery lost halfway",
        "worker/tasks.py",
        (("        if is_told_to_end():\n            stopping.set()\n", ""),),
        ("tests/worker/test_tasks.py",),
    ),
)
