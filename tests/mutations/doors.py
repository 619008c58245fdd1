"""What stands between a request and the rows: keys that are used once, tenants, bounds, lost connections."""

from tests.mutations.mechanism import Mechanism

DOORS = (
    Mechanism(
        "the idempotency key",
        "db/queries/idempotency.py",
        (
            (
                ".returning(IdempotencyRecord.key)).one_or_none() is not None",
                ".returning(IdempotencyRecord.key)).one_or_none() is not Ellipsis",
            ),
        ),
        ("tests/api/submissions/test_job_idempotency.py",),
    ),
    Mechanism(
        "the route of an idempotency key",
        "db/queries/idempotency.py",
        (("record.tenant_id == key.tenant_id, record.route == key.route,", "record.tenant_id == key.tenant_id,"),),
        ("tests/openai/test_repeats.py",),
    ),
    Mechanism(
        "the message after the commit",
        "api/submissions/accepting.py",
        (
            (
                "    answer = await _stored(services, tenant_id, body, key,",
                (
                    '    services.publisher.wake(uuid.uuid4(), "0" * 64)\n'
                    "    answer = await _stored(services, tenant_id, body, key,"
                ),
            ),
        ),
        ("tests/api/submissions/test_job_submission.py",),
    ),
    Mechanism(
        "the tenant of a job that is read",
        "db/queries/jobs.py",
        (
            (
                '_jobs().where(Job.tenant_id == bindparam("the_tenant"), Job.id == bindparam("the_job"))',
                '_jobs().where(Job.id == bindparam("the_job"))',
            ),
        ),
        ("tests/api/jobs/test_job_isolation.py",),
    ),
    Mechanism(
        "the tenant of jobs that are listed",
        "db/queries/jobs.py",
        (("_jobs().where(Job.tenant_id == tenant_id).order_by", "_jobs().order_by"),),
        ("tests/api/jobs/test_job_isolation.py",),
    ),
    Mechanism(
        "the tenant of a profile",
        "db/queries/profiles.py",
        (
            (
                "_newest(tenant_id).where(Profile.user_id == user_id)",
                "_newest(Profile.tenant_id).where(Profile.user_id == user_id)",
            ),
        ),
        ("tests/api/http/test_authentication.py",),
    ),
    Mechanism(
        "the tenant of a file",
        "db/queries/files.py",
        (("return (StoredFile.tenant_id == tenant_id, ", "return ("),),
        ("tests/openai/test_files.py::test_another_tenants_files_are_not_there",),
    ),
    Mechanism(
        "the tenant of a batch",
        "db/queries/batches.py",
        (("return (Batch.tenant_id == tenant_id, ", "return ("),),
        ("tests/openai/test_batch_ends.py::test_another_tenants_batches_and_their_files_are_not_there",),
    ),
    Mechanism(
        "the tenant of a webhook",
        "db/queries/webhooks.py",
        (("return (Webhook.tenant_id == tenant_id, ", "return ("),),
        ("tests/webhooks/test_webhooks.py::test_another_tenants_webhook_is_not_found",),
    ),
    Mechanism(
        "public addresses and no other",
        "api/webhooks/addresses.py",
        (
            (
                "    if not allow_private and not all(map(is_public, addresses)):",
                "    if allow_private is None:",
            ),
        ),
        ("tests/webhooks/test_addresses.py",),
    ),
    Mechanism(
        "the bound on one tenant's requests side by side",
        "api/http/admission.py",
        (
            (
                "free = (tenant for tenant in self._waiting if self._inside[tenant] < self._most_of_tenant)",
                "free = iter(self._waiting)",
            ),
        ),
        ("tests/api/http/test_admission.py",),
    ),
    Mechanism(
        "the bound on everybody's requests side by side",
        "api/http/admission.py",
        (("while self._inside.total() < self._most:", "while True:"),),
        ("tests/api/http/test_admission.py",),
    ),
    Mechanism(
        "the turns of tenants whose requests wait",
        "api/http/admission.py",
        (("            self._waiting.move_to_end(tenant_id)\n", "            pass\n"),),
        ("tests/api/http/test_admission.py",),
    ),
    Mechanism(
        "the bound on wake-ups that wait",
        "worker/queue.py",
        (("if len(self._pending) > MOST_PENDING:", "if not self._pending:"),),
        ("tests/worker/test_publisher.py",),
    ),
    Mechanism(
        "wake-ups that Redis did not take are sent again",
        "worker/queue.py",
        (
            (
                "                if is_sent:\n                    self._pending.pop(wakeup, None)",
                "                self._pending.pop(wakeup, None)\n                if is_sent:",
            ),
        ),
        ("tests/worker/test_publisher.py",),
    ),
    Mechanism(
        "the rest of a Redis that refuses",
        "worker/queue.py",
        (("self._changed.wait_for(lambda: self._is_closed, self._rest_seconds)", "pass"),),
        ("tests/worker/test_publisher.py",),
    ),
    Mechanism(
        "the end of a rest when all ends",
        "worker/queue.py",
        (
            (
                "            self._is_closed = True\n            self._changed.notify_all()",
                "            self._is_closed = True",
            ),
        ),
        ("tests/worker/test_publisher.py",),
    ),
    Mechanism(
        "no resuming behind a deadline",
        "api/jobs/flow.py",
        (
            (
                "        record_in_time(session, caller.tenant_id, job_id)\n        if not pausing.resume",
                "        if not pausing.resume",
            ),
        ),
        ("tests/api/jobs/test_job_flow.py",),
    ),
    Mechanism(
        "no priority behind a deadline",
        "api/jobs/flow.py",
        (
            (
                "        record_in_time(session, caller.tenant_id, job_id)\n        if not prioritising",
                "        if not prioritising",
            ),
        ),
        ("tests/api/jobs/test_job_flow.py",),
    ),
    Mechanism(
        "the end of a message that nobody takes",
        "worker/queue.py",
        (("            expires=MESSAGE_SECONDS,\n", ""),),
        ("tests/worker/test_queue.py",),
    ),
    Mechanism(
        "the probes on connections to Redis",
        "worker/queue.py",
        (('"socket_keepalive_options": DEAD_PEER', '"socket_keepalive_options": {}'),),
        ("tests/worker/test_queue.py",),
    ),
    Mechanism(
        "the probes on connections to PostgreSQL",
        "db/session.py",
        (("            **DEAD_PEER,\n", ""),),
        ("tests/db/test_patience.py",),
    ),
    Mechanism(
        "the bound on a statement",
        "db/session.py",
        (("-c statement_timeout={statement_seconds}s ", ""),),
        ("tests/db/test_patience.py",),
    ),
    Mechanism(
        "the bound on the silence of a transaction",
        "db/session.py",
        (('            f"-c idle_in_transaction_session_timeout={SILENT_SECONDS}s "\n', ""),),
        ("tests/db/test_patience.py",),
    ),
    Mechanism(
        "the bound on the wait for an answer",
        "db/session.py",
        (
            (
                "connect_with_patience(statement_seconds + ANSWER_MARGIN_SECONDS)",
                "connect_with_patience(1e6)",
            ),
        ),
        ("tests/db/test_patience.py",),
    ),
    Mechanism(
        "the bound on the wait for a connection",
        "db/session.py",
        (('            "connect_timeout": CONNECT_TIMEOUT_SECONDS,\n', ""),),
        ("tests/db/test_patience.py",),
    ),
    Mechanism(
        "no transaction of who only glances",
        "db/session.py",
        (
            (
                'self._glancing_engine = self.engine.execution_options(isolation_level="AUTOCOMMIT")',
                "self._glancing_engine = self.engine",
            ),
        ),
        ("tests/db/test_session.py",),
    ),
    Mechanism(
        "the patience of a connection that was tried",
        "db/write_probe.py",
        (('        driver.execute(f"PRAGMA busy_timeout = {before}")\n', "        pass\n"),),
        ("tests/db/test_write_probe.py",),
    ),
    Mechanism(
        "no values in errors of PostgreSQL",
        "db/session.py",
        (("        hide_parameters=True,\n        connect_args={\n", "        connect_args={\n"),),
        ("tests/db/test_session.py",),
    ),
    Mechanism(
        "no values in errors of SQLite",
        "db/session.py",
        (('        hide_parameters=True,\n        connect_args={"timeout"', '        connect_args={"timeout"'),),
        ("tests/db/test_session.py",),
    ),
    Mechanism(
        "the write that readiness tries",
        "telemetry/readiness.py",
        (("        check_writes(database)\n", ""),),
        (
            "tests/api/test_health.py",
            "tests/padserve/test_doctor_and_readiness.py",
        ),
    ),
)
