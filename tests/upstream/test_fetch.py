"""Files of a provider line by line, whatever pieces they come in."""

import pytest

from gateway.core.errors import NotFound, UpstreamFailed
from gateway.core.upstreams import Upstream
from gateway.upstream.fetch import fetch, fetch_lines
from gateway.upstream.pool import Pool
from tests.patience import PATIENCE_SECONDS
from tests.provider import Cut, Provider, Step

CONTENT = b'{"a":1}\r\n\n  \n{"b":"\xc3\xa9"}\n{"c":3}'
LINES = [b'{"a":1}\r', b'{"b":"\xc3\xa9"}', b'{"c":3}']


def main(provider: Provider) -> Upstream:
    return Upstream("main", "openai", provider.base_url, "sk-1")


async def read(provider: Provider) -> list[bytes]:
    async with Pool() as pool:
        return [line async for line in fetch_lines(pool, main(provider), "/files/file-1/content")]


async def test_lines_come_whole_however_the_file_is_cut(provider: Provider) -> None:
    pieces: list[list[Step]] = [
        [CONTENT],
        [CONTENT[index : index + 1] for index in range(len(CONTENT))],
    ]
    for at in range(1, len(CONTENT), 5):
        pieces.append([CONTENT[:at], CONTENT[at:]])
    for steps in pieces:
        provider.answer(200, {}, steps, framing="chunked")
        assert await read(provider) == LINES


async def test_file_that_is_not_there_is_not_found(provider: Provider) -> None:
    provider.answer(404)
    with pytest.raises(NotFound):
        await read(provider)


@pytest.mark.parametrize("status", [401, 429, 500])
async def test_file_that_cannot_be_read_is_the_providers_failure(provider: Provider, status: int) -> None:
    provider.answer(status)
    with pytest.raises(UpstreamFailed):
        await read(provider)


async def test_file_that_breaks_off_is_the_providers_failure(provider: Provider) -> None:
    provider.answer(200, {}, [CONTENT, Cut.RESET], framing="chunked")
    with pytest.raises(UpstreamFailed):
        await read(provider)


async def test_answer_that_does_not_come_in_time_is_late(provider: Provider) -> None:
    provider.answer(200, {}, [b"{", Cut.HANG], framing="chunked")
    async with Pool() as pool:
        with pytest.raises(UpstreamFailed) as late:
            await fetch(pool, main(provider), "GET", "/batches/batch_1", 1.0)
    assert late.value.code == "upstream_timeout"


async def test_request_of_ours_says_that_it_came_through_a_gateway(provider: Provider) -> None:
    provider.answer(200, {}, b"{}")
    async with Pool() as pool:
        assert await fetch(pool, main(provider), "GET", "/batches/batch_1", PATIENCE_SECONDS) == (200, b"{}")
    asked = await provider.request()
    assert asked.header("x-gateway-hop") == "1" and asked.header("authorization") == "Bearer sk-1"
