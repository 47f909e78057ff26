"""A gateway of the past, as far as a database sees it: a folder of migrations that ends with an earlier one of ours."""

import shutil
from pathlib import Path

from gateway.store import migrate

FIRST = "0001"


async def upgrade(url: str, folder: Path, head: str = FIRST) -> None:
    """Migrate as the older gateway did. `folder` has room for its migrations."""
    copy = folder / "older"
    shutil.copytree(migrate.script_location(), copy, ignore=shutil.ignore_patterns("__pycache__"))
    for version in (copy / "versions").glob("*.py"):
        if version.name[: len(head)] > head:
            version.unlink()
    await migrate.upgrade(url, head=head, folder=copy)
