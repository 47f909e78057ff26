"""A gateway of the future, as far as a database sees it: a folder of migrations with one more behind ours."""

import shutil
from pathlib import Path

from gateway.store import migrate

HEAD = "9000"
MIGRATION = '''"""A migration of the future."""

import sys

from alembic import op

revision = "{head}"
down_revision = "{ours}"


def upgrade() -> None:
    """Change the schema."""
    {change}
'''
ADD = """op.execute("ALTER TABLE usage ADD COLUMN novelty BIGINT NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE hold ADD COLUMN novelty TEXT")
    op.execute("CREATE TABLE novelty (id TEXT PRIMARY KEY)")"""
WAIT = f"""{ADD}
    sys.stdout.write("READY\\n")
    sys.stdout.flush()
    sys.stdin.read()"""
"""Changes, then waits in the middle of the transaction until its input ends."""
TAKE_AWAY = "\n    ".join((ADD, "op.execute(\"UPDATE compatibility SET oldest_code = '9000'\")"))


def migrations(folder: Path, change: str) -> Path:
    """Return a folder like ours, with this change as the newest migration."""
    copy = folder / "migrations"
    shutil.copytree(migrate.script_location(), copy, ignore=shutil.ignore_patterns("__pycache__"))
    text = MIGRATION.format(head=HEAD, ours=migrate.HEAD, change=change)
    (copy / "versions" / f"{HEAD}_newer.py").write_text(text)
    return copy


async def upgrade(url: str, folder: Path, change: str = ADD) -> None:
    """Migrate as the newer gateway does."""
    await migrate.upgrade(url, head=HEAD, folder=migrations(folder, change))
