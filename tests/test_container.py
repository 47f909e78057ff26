"""The image's health check, as it stands in the Dockerfile, against a gateway that serves HTTP or HTTPS."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.outbound import CERTIFICATES
from tests.patience import PATIENCE_SECONDS
from tests.serving import ServedApp, running

CHECK = re.compile(r"^HEALTHCHECK .* --retries=(?P<retries>\d+) CMD (?P<words>\[.*\])$", re.MULTILINE)
DOCKERFILE = Path(__file__).parent.parent / "Dockerfile"


async def is_healthy(port: int, **variables: str) -> bool:
    """Run the check as the container does: so many failures in a row are needed."""
    found = CHECK.search(DOCKERFILE.read_text(encoding="utf-8"))
    assert found is not None
    python, *words = json.loads(found["words"])
    assert python == "python"
    # A proxy of the environment must not be asked about this machine's own health.
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:1", "GATEWAY_PORT": str(port), **variables}
    for _ in range(int(found["retries"])):
        process = await asyncio.create_subprocess_exec(
            sys.executable, *words, env=environment, stderr=asyncio.subprocess.DEVNULL
        )
        if await asyncio.wait_for(process.wait(), PATIENCE_SECONDS) == 0:
            return True
    return False


@pytest.mark.parametrize("certificate", [None, str(CERTIFICATES / "server.pem")])
async def test_health_check_finds_a_serving_gateway_healthy(certificate: str | None) -> None:
    settings = {} if certificate is None else {"GATEWAY_TLS_CERTIFICATE_FILE": certificate}
    async with running(ServedApp(), certificate=certificate) as served:
        assert await is_healthy(served.port, **settings)


async def test_health_check_finds_nobody_unhealthy() -> None:
    assert not await is_healthy(1)
