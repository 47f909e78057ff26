"""Chat, completions and embeddings with OpenAI's own client: nothing but its base URL is changed."""

import base64
import json

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from tests.events import DONE, EVENT_STREAM, JSON, chunk, completion, usage, usage_chunk
from tests.gateway import MODEL, RunningGateway

HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PIXEL = (
    "data:image/png;base64,"
    + base64.b64encode(bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489")).decode()
)


async def test_chat_plain_is_answered_and_charged_what_the_provider_reported(any_gateway: RunningGateway) -> None:
    any_gateway.provider.chat("Hello", input_tokens=11, output_tokens=3)
    client = any_gateway.openai(await any_gateway.key())
    answer = await client.chat.completions.create(model=MODEL, messages=HI)
    assert answer.choices[0].message.content == "Hello"
    row = await any_gateway.charged()
    assert (row.input_tokens, row.output_tokens, row.source, row.outcome) == (11, 3, "reported", "completed")
    assert (row.requests, row.succeeded, row.status, row.operation) == (1, 1, 200, "chat")
    assert row.cost_nano_usd == 11 * 150 + 3 * 600
    await any_gateway.audit()


async def test_chat_streamed_hides_the_usage_that_was_not_asked_for(any_gateway: RunningGateway) -> None:
    any_gateway.provider.chat("one two three", input_tokens=11, output_tokens=3)
    client = any_gateway.openai(await any_gateway.key())
    stream = await client.chat.completions.create(model=MODEL, messages=HI, stream=True)
    chunks = [piece async for piece in stream]
    assert "".join(piece.choices[0].delta.content or "" for piece in chunks) == "one two three"
    assert all(piece.usage is None for piece in chunks)
    row = await any_gateway.charged()
    assert (row.input_tokens, row.output_tokens, row.source) == (11, 3, "reported")
    await any_gateway.audit()


async def test_chat_streamed_shows_the_usage_that_was_asked_for(gateway: RunningGateway) -> None:
    gateway.provider.chat("one two", input_tokens=11, output_tokens=3)
    client = gateway.openai(await gateway.key())
    stream = await client.chat.completions.create(
        model=MODEL, messages=HI, stream=True, stream_options={"include_usage": True}
    )
    chunks = [piece async for piece in stream]
    assert chunks[-1].choices == [] and chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 14


async def test_chat_under_the_prefix_is_served_alike(gateway: RunningGateway) -> None:
    gateway.provider.chat("Hello")
    client = gateway.openai(await gateway.key(), prefix="/openai")
    answer = await client.chat.completions.create(model=MODEL, messages=HI)
    assert answer.choices[0].message.content == "Hello"
    assert (await gateway.provider.request()).path == "/v1/chat/completions"


async def test_chat_with_tools_returns_the_calls(gateway: RunningGateway) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choices = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
    gateway.provider.answer(200, JSON, completion(choices=choices, usage=usage(50, 9)))
    client = gateway.openai(await gateway.key())
    answer = await client.chat.completions.create(model=MODEL, messages=HI, tools=[WEATHER])
    called = answer.choices[0].message.tool_calls
    assert called is not None and called[0].type == "function" and called[0].function.arguments == '{"city":"Oslo"}'


async def test_chat_stream_helper_gathers_streamed_tool_calls(gateway: RunningGateway) -> None:
    def delta(**function: str) -> bytes:
        first = {"id": "call_1", "type": "function"} if "name" in function else {}
        called = [{"index": 0, **first, "function": function}]
        return chunk(choices=[{"index": 0, "delta": {"tool_calls": called}, "finish_reason": None}])

    events = [delta(name="weather", arguments=""), delta(arguments='{"city":'), delta(arguments='"Oslo"}')]
    events += [chunk(finish="tool_calls"), usage_chunk(50, 9), DONE]
    gateway.provider.answer(200, EVENT_STREAM, list(events), framing="chunked")
    client = gateway.openai(await gateway.key())
    async with client.chat.completions.stream(model=MODEL, messages=HI, tools=[WEATHER]) as stream:
        final = await stream.get_final_completion()
    called = final.choices[0].message.tool_calls
    assert called is not None and called[0].function.arguments == '{"city":"Oslo"}'


async def test_chat_with_an_image_is_forwarded_as_it_is(gateway: RunningGateway) -> None:
    gateway.provider.chat("A pixel.")
    client = gateway.openai(await gateway.key())
    content = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])  # type: ignore[list-item, misc]
    assert PIXEL in (await gateway.provider.request()).body.decode()


async def test_chat_parse_returns_the_structured_answer(gateway: RunningGateway) -> None:
    class City(BaseModel):
        name: str
        people: int

    gateway.provider.answer(200, JSON, completion('{"name":"Oslo","people":700000}'))
    client = gateway.openai(await gateway.key())
    answer = await client.chat.completions.parse(model=MODEL, messages=HI, response_format=City)
    assert answer.choices[0].message.parsed == City(name="Oslo", people=700_000)


async def test_chat_provider_error_reaches_the_client_unchanged(gateway: RunningGateway) -> None:
    error = {"error": {"message": "Too long.", "type": "invalid_request_error", "param": "messages", "code": "x"}}
    gateway.provider.answer(400, JSON, json.dumps(error).encode())
    client = gateway.openai(await gateway.key())
    with pytest.raises(openai.BadRequestError) as raised:
        await client.chat.completions.create(model=MODEL, messages=HI)
    assert raised.value.body == error["error"]


async def test_completions_plain_and_streamed_are_charged(gateway: RunningGateway) -> None:
    body = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "gpt-3.5-turbo-instruct"}
    choice = {"index": 0, "text": "Hello", "logprobs": None, "finish_reason": "stop"}
    whole = json.dumps({**body, "choices": [choice], "usage": usage(3, 2)}).encode()
    gateway.provider.answer(200, JSON, whole)
    client = gateway.openai(await gateway.key())
    answer = await client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Say hello")
    assert answer.choices[0].text == "Hello"
    events: list[bytes] = [b"data: %b\n\n" % json.dumps({**body, "choices": [choice]}).encode()]
    events += [b"data: %b\n\n" % json.dumps({**body, "choices": [], "usage": usage(3, 4)}).encode(), DONE]
    gateway.provider.answer(200, EVENT_STREAM, list(events), framing="chunked")
    stream = await client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Say hello", stream=True)
    assert [piece.choices[0].text async for piece in stream] == ["Hello"]
    rows = await gateway.usage()
    assert [(row.operation, row.input_tokens, row.output_tokens) for row in rows] == [
        ("completions", 3, 2),
        ("completions", 3, 4),
    ]


async def test_embeddings_are_returned_and_charged_as_input(gateway: RunningGateway) -> None:
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}]
    figures = {"prompt_tokens": 4, "total_tokens": 4}
    body = {"object": "list", "data": data, "model": "text-embedding-3-small", "usage": figures}
    gateway.provider.answer(200, JSON, json.dumps(body).encode())
    client = gateway.openai(await gateway.key())
    answer = await client.embeddings.create(model="text-embedding-3-small", input="Hi", encoding_format="float")
    assert answer.data[0].embedding == [0.5, -0.5]
    row = await gateway.charged()
    assert (row.operation, row.input_tokens, row.output_tokens, row.source) == ("embeddings", 4, 0, "reported")


async def test_embeddings_without_usage_are_counted_and_have_no_output(gateway: RunningGateway) -> None:
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}]
    body = {"object": "list", "data": data, "model": "text-embedding-3-small"}
    gateway.provider.answer(200, JSON, json.dumps(body).encode())
    client = gateway.openai(await gateway.key())
    await client.embeddings.create(model="text-embedding-3-small", input="Hello there", encoding_format="float")
    row = await gateway.charged()
    assert (row.input_tokens, row.output_tokens, row.source) == (2, 0, "counted")


async def test_cost_that_the_provider_tells_is_stored_beside_ours(any_gateway: RunningGateway) -> None:
    told = usage(1_000, 100, cost=0.000123456789, is_byok=False)
    any_gateway.provider.answer(200, JSON, completion("Hello", usage=told))
    assert (await any_gateway.chat(await any_gateway.key())).status_code == 200
    row = await any_gateway.charged()
    assert (row.cost_nano_usd, row.upstream_cost_nano_usd) == (1_000 * 150 + 100 * 600, 123_457)
