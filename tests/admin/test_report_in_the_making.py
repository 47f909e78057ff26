"""While a report is being made, requests are answered, however long it takes and however it works on it."""

import asyncio
import threading

import httpx
from starlette.routing import Router

from gateway.admin import projects
from gateway.admin.boundary import Access, AdminRequest, AdminRoute, mount
from gateway.admin.buckets import PageOf
from gateway.admin.decoding import Nothing
from gateway.admin.usage_results import TotalResult
from gateway.store.engine import Connection
from tests.admin.reporting import services_of
from tests.patience import PATIENCE_SECONDS
from tests.serving import ServedApp, running
from tests.team import running_team

SLOW_REPORTS = 6
"""More than there are connections for reading."""


async def test_reports_in_the_making_hold_up_nobody(database_url: str) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def add_up(_: Connection) -> PageOf[TotalResult]:
        begun.set()
        assert may_end.wait(PATIENCE_SECONDS), "nothing else was answered meanwhile"
        return PageOf((), has_more=False, next_page=None)

    async def report(request: AdminRequest[Nothing, Nothing]) -> PageOf[TotalResult]:
        return await request.read(add_up)

    slow = AdminRoute("GET", "/v1/organization/usage/slow", report, Access.OWN, Nothing, Nothing)
    async with running_team(database_url) as team:
        routes = Router(mount((slow, *projects.ROUTES), services_of(team)))
        headers = {"authorization": f"Bearer {team.texts['admin']}"}
        async with (
            running(ServedApp(routes)) as server,
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{server.port}/v1/organization/", headers=headers, timeout=PATIENCE_SECONDS
            ) as http,
        ):
            making = [asyncio.create_task(http.get("usage/slow")) for _ in range(SLOW_REPORTS)]
            await asyncio.to_thread(begun.wait)
            answers = [await http.get("projects") for _ in range(SLOW_REPORTS)]
            assert not any(task.done() for task in making)
            may_end.set()
            answers += await asyncio.gather(*making)
    assert {answer.status_code for answer in answers} == {200}
