"""`python -m padserve.worker_health`: exits 0 while a worker of this database says that it lives. For health checks."""

import os
import sys

from sqlalchemy.exc import SQLAlchemyError

from db.queries.workers import worker_status
from db.session import Database, DatabaseUnreachableError
from domain.states import WorkerState


def main() -> int:
    """Loading a model counts as health: it takes as long as it takes."""
    try:
        database = Database(os.environ.get("PADSERVE_DATABASE_URL", ""), pool_size=1)
    except DatabaseUnreachableError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    try:
        database.check()
        with database.reading() as session:
            status = worker_status(session)
    except (DatabaseUnreachableError, SQLAlchemyError) as error:
        sys.stderr.write(f"{error if isinstance(error, DatabaseUnreachableError) else type(error).__name__}\n")
        return 1
    finally:
        database.dispose()
    if status.message:
        sys.stderr.write(f"{status.message}\n")
    return 0 if status.state in {WorkerState.READY, WorkerState.LOADING} else 1


if __name__ == "__main__":
    sys.exit(main())
