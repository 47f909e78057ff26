"""A process that is killed while it changes a schema: `python -m tests.store.dying URL [FOLDER_OF_MIGRATIONS]`.

Without a folder it makes the tables of an empty database, and waits in the middle until its input ends.
"""

import asyncio
import sys
from pathlib import Path

from sqlalchemy import event

from gateway.store import migrate
from gateway.store.metadata import metadata
from tests import newer


def wait(*_: object, **__: object) -> None:
    """Say that the tables are made, within the transaction."""
    sys.stdout.write("READY\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    url, *folder = sys.argv[1:]
    if folder:
        asyncio.run(migrate.upgrade(url, head=newer.HEAD, folder=Path(*folder)))
    else:
        event.listen(metadata, "after_create", wait)
        asyncio.run(migrate.upgrade(url))
