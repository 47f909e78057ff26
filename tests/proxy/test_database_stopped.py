"""A PostgreSQL that is stopped without a word to anybody, and started again, while the gateway serves."""

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest

from gateway.core.limits import Interval, Metric
from gateway.store import audit
from gateway.store.engine import Database
from gateway.store.migrate import upgrade
from tests import cluster
from tests.events import DONE, EVENT_STREAM, JSON, chunk, completion, usage_chunk
from tests.gateway import running_gateway
from tests.ledger.running import until
from tests.patience import PATIENCE_SECONDS, QUARTER_SECONDS, in_quarters
from tests.provider import Provider, Request, Script, compose
from tests.troubles import in_time

LIMITS = [(Metric.REQUESTS, Interval.DAY, 9_999), (Metric.COST, Interval.DAY, 10**12), (Metric.CONCURRENCY, None, 50)]
STREAMS = 4
IN_FLIGHT = 12
RECOVERY_SECONDS = 20.0


@pytest.mark.parametrize("user", cluster.installed())
async def test_postgres_stopped_at_once_amid_calls_and_started_again_loses_nothing(
    user: str, provider: Provider, tmp_path: Path
) -> None:
    """A real `pg_ctl stop -m immediate`: commits are cut where they are, and the log is replayed at the start."""
    gate, over = asyncio.Event(), asyncio.Event()
    served: Counter[int] = Counter()

    def play(request: Request) -> Script:
        if not request.json().get("stream"):
            return compose(200, JSON, completion())
        return compose(
            200, EVENT_STREAM, [chunk("one"), gate, chunk(" two"), usage_chunk(10, 7), DONE], framing="chunked"
        )

    provider.always(play)
    async with cluster.cluster(user) as own:
        await upgrade(own.url)
        async with running_gateway(own.url, provider, tmp_path, database_wait_seconds=4.5) as gateway:
            key = await gateway.key(limits=LIMITS)
            streams = [asyncio.create_task(gateway.chat(key, stream=True)) for _ in range(STREAMS)]
            for _ in streams:
                await provider.request()

            async def call() -> None:
                while not over.is_set():
                    answer = await in_time(gateway.chat(key))
                    assert answer.status_code in (200, 503), answer.text
                    served[answer.status_code] += 1

            callers = [asyncio.create_task(call()) for _ in range(IN_FLIGHT)]
            await until(lambda: served[200] > IN_FLIGHT)
            await own.stop()
            await until(lambda: served[503] > IN_FLIGHT)
            gate.set()
            async with asyncio.timeout(PATIENCE_SECONDS):
                for streamed in await asyncio.gather(*streams):
                    assert streamed.status_code == 200 and streamed.content.endswith(DONE)
            await own.start()
            before = served[200]
            _, quarters = await in_quarters(until(lambda: served[200] > before + IN_FLIGHT))
            assert quarters * QUARTER_SECONDS < RECOVERY_SECONDS
            over.set()
            await asyncio.gather(*callers)
            await gateway.audit()
            rows = await gateway.usage()
            assert sum(row.output_tokens == 7 for row in rows) == STREAMS
            assert {row.source for row in rows if row.requests} == {"reported"}
            assert sum(row.requests for row in rows) == len(provider.requests) == STREAMS + served[200]
            assert len({row.request_id for row in rows}) == len(rows)
        database = Database(own.url)
        checks = await database.read(lambda connection: audit.checks(connection, int(time.time())))
        await database.close()
        assert [check.faults for check in checks if check.faults] == []
    assert list((tmp_path / "spool").iterdir()) == []
