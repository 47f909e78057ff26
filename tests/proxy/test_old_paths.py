"""The paths of an earlier gateway's sibling services tell where to go."""

import re

import pytest

from gateway.core.old_paths import OLD_PATHS
from tests.gateway import RunningGateway


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_old_path_is_gone_and_tells_the_new_one(gateway: RunningGateway, method: str) -> None:
    for path, now in OLD_PATHS.items():
        answer = await gateway.http.request(method, re.sub(r"\{\w+\}", "0d6b-41f0", path))
        assert answer.status_code == 410, path
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "gone")
        assert now in error["message"]
