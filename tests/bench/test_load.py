"""The load against the scripted provider, on real sockets."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from bench.answer import WrongAnswerError
from bench.load import Call, Load, call_to
from bench.native import NATIVE
from bench.provider import Provider
from bench.script import OPENAI, Script, Stream

KEY = "unchecked"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


@pytest.mark.parametrize("stream", [None, Stream(chunks=8, delay_ms=1, words=3)], ids=["plain", "streamed"])
@pytest.mark.parametrize("script", [OPENAI, *NATIVE.values()], ids=["OpenAI", *NATIVE])
async def test_load_for_calls_answers_each_call_once(port: int, script: Script, stream: Stream | None) -> None:
    async with await Load.connect(call_to(port, KEY, stream, script), 4) as load:
        latencies = await load.for_calls(20)

    assert len(latencies) == 20


async def test_load_at_rate_more_calls_than_connections_answers_them_all(port: int) -> None:
    async with await Load.connect(call_to(port, KEY), 1) as load:
        latencies = await load.at_rate(calls_per_second=2000, seconds=0.05)

    assert len(latencies) == 100


async def test_load_refused_where_it_may_be_counts_the_refusals() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        call = replace(call_to(server.sockets[0].getsockname()[1], KEY), may_be_refused=True)
        async with await Load.connect(call, 1) as load:
            assert await load.at_rate(calls_per_second=1000, seconds=0.001) == []
            assert load.refused == 1


async def test_load_wrong_answer_raises_what_came(port: int) -> None:
    wrong = Call(port, b"GET /elsewhere HTTP/1.1\r\n\r\n", OPENAI.expected(None), lasts_seconds=0)

    async with await Load.connect(wrong, 2) as load:
        with pytest.raises(WrongAnswerError, match="404"):
            await load.for_calls(2)
