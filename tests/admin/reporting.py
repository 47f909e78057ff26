"""Usage and costs of a team on a real server, read with OpenAI's SDK as an admin and as a member."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from openai import AsyncOpenAI
from starlette.routing import Router

from gateway.admin import costs, usage
from gateway.admin.boundary import Services, mount
from gateway.admin.failed_logins import FailedLogins
from gateway.sources import random_base62
from tests.patience import PATIENCE_SECONDS
from tests.serving import ServedApp, running
from tests.team import Team


@dataclass
class Reporting:
    """`admin` and `member` are OpenAI's SDK with the reader's and the first key; `http` sends what it would not."""

    team: Team
    admin: AsyncOpenAI
    member: AsyncOpenAI
    http: httpx.AsyncClient


@asynccontextmanager
async def reporting_on(team: Team) -> AsyncIterator[Reporting]:
    """Serve the reports of a team."""
    application = ServedApp(Router(mount((*usage.ROUTES, *costs.ROUTES), services_of(team))))
    async with running(application) as server:
        url = f"http://127.0.0.1:{server.port}/v1"
        headers = {"authorization": f"Bearer {team.texts['admin']}"}
        async with (
            sdk(url, team.texts["admin"]) as admin,
            sdk(url, team.texts["key_1"]) as member,
            httpx.AsyncClient(base_url=f"{url}/organization/", headers=headers, timeout=PATIENCE_SECONDS) as http,
        ):
            yield Reporting(team, admin, member, http)


def services_of(team: Team) -> Services:
    """What the handlers of administration work with."""
    failed_logins = FailedLogins(team.database, random_base62)
    return Services(team.database, team.principals, team.clock, random_base62, _no_models, failed_logins)


async def _no_models() -> frozenset[str]:
    return frozenset()


def sdk(url: str, key: str) -> AsyncOpenAI:
    """OpenAI's SDK, which fails on an answer that is not as its types say."""
    return AsyncOpenAI(
        base_url=url, api_key="unused", admin_api_key=key, max_retries=0, _strict_response_validation=True
    )
