"""Says whether a PostgreSQL answers for the tests; with --required it fails when none does.

Looks at GATEWAY_TEST_POSTGRES_URL, else at 127.0.0.1:5432. Prints host and version, never the password.
"""

import asyncio
import os
import sys

import asyncpg

DEFAULT_URL = "postgresql://postgres@127.0.0.1:5432/postgres"
CONNECT_TIMEOUT_SECONDS = 5


async def answering_version(url: str) -> str:
    """Return the server's version. Raises OSError, TimeoutError or PostgresError when it does not let us in."""
    connection = await asyncpg.connect(url.replace("+asyncpg", "", 1), timeout=CONNECT_TIMEOUT_SECONDS)
    try:
        version: str = await connection.fetchval("SHOW server_version")
        return version
    finally:
        await connection.close()


def main() -> int:
    """Print one line. Returns 1 when a server is required and none answers, else 0."""
    url = os.environ.get("GATEWAY_TEST_POSTGRES_URL") or DEFAULT_URL
    place = url.rpartition("@")[2]
    try:
        version = asyncio.run(answering_version(url))
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        print(f"PostgreSQL: none answers at {place} ({str(error) or type(error).__name__}); tests run on SQLite only")
        return int("--required" in sys.argv)
    print(f"PostgreSQL: {version} at {place}; tests run on it too")
    return 0


if __name__ == "__main__":
    sys.exit(main())
