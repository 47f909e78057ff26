"""The Responses API with OpenAI's own client: answers, streams, and what stays at the provider."""

import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

from tests.events import EVENT_STREAM, JSON, response, response_events
from tests.gateway import MODEL, RunningGateway
from tests.provider import Cut


async def made(gateway: RunningGateway, client: AsyncOpenAI, id: str = "resp_1") -> None:
    """Have the provider make a response for this client's key."""
    gateway.provider.answer(200, JSON, json.dumps(response(id)).encode())
    await client.responses.create(model=MODEL, input="Hi")
    await gateway.provider.request()


async def test_response_plain_is_answered_and_charged(any_gateway: RunningGateway) -> None:
    client = any_gateway.openai(await any_gateway.key())
    any_gateway.provider.answer(200, JSON, json.dumps(response(text="Hello")).encode())
    answer = await client.responses.create(model=MODEL, input="Hi")
    assert answer.output_text == "Hello"
    row = await any_gateway.charged()
    assert (row.operation, row.input_tokens, row.output_tokens, row.source) == ("responses", 12, 7, "reported")
    await any_gateway.audit()


async def test_response_streamed_is_relayed_and_charged(any_gateway: RunningGateway) -> None:
    client = any_gateway.openai(await any_gateway.key())
    any_gateway.provider.answer(200, EVENT_STREAM, response_events(), framing="chunked")
    stream = await client.responses.create(model=MODEL, input="Hi", stream=True)
    kinds = [event.type async for event in stream]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed" and len(kinds) == 10
    row = await any_gateway.charged()
    assert (row.input_tokens, row.output_tokens, row.source) == (12, 7, "reported")


async def test_response_stream_helper_gathers_the_final_response(gateway: RunningGateway) -> None:
    client = gateway.openai(await gateway.key(), prefix="/openai")
    gateway.provider.answer(200, EVENT_STREAM, response_events(), framing="chunked")
    async with client.responses.stream(model=MODEL, input="Hi") as stream:
        final = await stream.get_final_response()
    assert final.output_text == "Hello"


async def test_response_parse_returns_the_structured_answer(gateway: RunningGateway) -> None:
    class City(BaseModel):
        name: str

    client = gateway.openai(await gateway.key())
    gateway.provider.answer(200, JSON, json.dumps(response(text='{"name":"Oslo"}')).encode())
    answer = await client.responses.parse(model=MODEL, input="Hi", text_format=City)
    assert answer.output_parsed == City(name="Oslo")


async def test_stored_response_is_its_makers_to_read_cancel_and_delete(any_gateway: RunningGateway) -> None:
    client = any_gateway.openai(await any_gateway.key())
    await made(any_gateway, client)
    provider = any_gateway.provider
    provider.answer(200, JSON, json.dumps(response()).encode())
    assert (await client.responses.retrieve("resp_1", include=["reasoning.encrypted_content"])).id == "resp_1"
    asked = await provider.request()
    assert (asked.method, asked.path) == ("GET", "/v1/responses/resp_1?include%5B%5D=reasoning.encrypted_content")
    provider.answer(200, JSON, b'{"object":"list","data":[],"first_id":"","last_id":"","has_more":false}')
    assert (await client.responses.input_items.list("resp_1")).data == []
    provider.answer(200, JSON, json.dumps(response(status="cancelled")).encode())
    assert (await client.responses.cancel("resp_1")).status == "cancelled"
    provider.answer(200, JSON, b'{"id":"resp_1","object":"response","deleted":true}')
    await client.responses.delete("resp_1")
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve("resp_1")
    rows = await any_gateway.usage(5)
    assert sum(row.input_tokens + row.output_tokens for row in rows) == 19
    assert [row.operation for row in rows][-1] == "responses.delete"


async def test_stored_response_of_another_key_does_not_exist(gateway: RunningGateway) -> None:
    await made(gateway, gateway.openai(await gateway.key()))
    other = gateway.openai(await gateway.key())
    for call in (other.responses.retrieve, other.responses.cancel, other.responses.delete):
        with pytest.raises(openai.NotFoundError) as raised:
            await call("resp_1")
        assert raised.value.code == "not_found"
    assert len(gateway.provider.requests) == 1


async def test_streamed_response_is_its_makers_too(gateway: RunningGateway) -> None:
    client = gateway.openai(await gateway.key())
    gateway.provider.answer(200, EVENT_STREAM, response_events("resp_9"), framing="chunked")
    assert [event async for event in await client.responses.create(model=MODEL, input="Hi", stream=True)]
    gateway.provider.answer(200, JSON, json.dumps(response("resp_9")).encode())
    assert (await client.responses.retrieve("resp_9")).id == "resp_9"


async def test_response_whose_client_left_is_its_makers_still(gateway: RunningGateway) -> None:
    client = gateway.openai(await gateway.key())
    gateway.provider.answer(200, EVENT_STREAM, [*response_events("resp_9")[:6], Cut.HANG], framing="chunked")
    stream = await client.responses.create(model=MODEL, input="Hi", stream=True)
    assert (await anext(aiter(stream))).type == "response.created"
    await stream.close()
    assert (await gateway.charged()).outcome == "client_left"
    gateway.provider.answer(200, JSON, json.dumps(response("resp_9")).encode())
    assert (await client.responses.retrieve("resp_9")).id == "resp_9"


async def test_response_that_was_not_stored_cannot_be_read(gateway: RunningGateway) -> None:
    client = gateway.openai(await gateway.key())
    gateway.provider.answer(200, JSON, json.dumps(response()).encode())
    await client.responses.create(model=MODEL, input="Hi", store=False)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve("resp_1")


async def test_previous_response_of_ones_own_goes_on(gateway: RunningGateway) -> None:
    client = gateway.openai(await gateway.key())
    await made(gateway, client)
    gateway.provider.answer(200, JSON, json.dumps(response("resp_2")).encode())
    answer = await client.responses.create(model=MODEL, input="And?", previous_response_id="resp_1")
    assert answer.id == "resp_2"
    assert (await gateway.provider.request()).json()["previous_response_id"] == "resp_1"


@pytest.mark.parametrize("streams", [False, True])
async def test_item_of_ones_own_response_can_be_named(any_gateway: RunningGateway, streams: bool) -> None:
    client = any_gateway.openai(await any_gateway.key())
    if streams:
        any_gateway.provider.answer(200, EVENT_STREAM, response_events(), framing="chunked")
        assert [event async for event in await client.responses.create(model=MODEL, input="Hi", stream=True)]
    else:
        await made(any_gateway, client)
    any_gateway.provider.answer(200, JSON, json.dumps(response("resp_2")).encode())
    picture: Any = [{"type": "image_generation_call", "id": "msg_1"}, {"type": "item_reference", "id": "msg_1"}]
    assert (await client.responses.create(model=MODEL, input=picture)).id == "resp_2"
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(model=MODEL, input=[{"type": "item_reference", "id": "msg_2"}])


async def test_item_of_a_response_that_was_not_stored_cannot_be_named(gateway: RunningGateway) -> None:
    client = gateway.openai(await gateway.key())
    gateway.provider.answer(200, JSON, json.dumps(response()).encode())
    await client.responses.create(model=MODEL, input="Hi", store=False)
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(model=MODEL, input=[{"type": "item_reference", "id": "msg_1"}])


@pytest.mark.parametrize("kind", ["reasoning", "file_search_call", "code_interpreter_call", "mcp_item_of_2030"])
async def test_item_of_anothers_that_the_provider_knows_by_its_id_is_not_found(
    any_gateway: RunningGateway, kind: str
) -> None:
    maker, other = await any_gateway.key(), await any_gateway.key()
    answer = json.dumps(response(output=[{"type": "reasoning", "id": "rs_1", "summary": []}])).encode()
    any_gateway.provider.answer(200, JSON, answer)
    assert (await any_gateway.post(maker, "/v1/responses", {"model": MODEL, "input": "Hi"})).status_code == 200
    item = {"type": kind, "id": "rs_1", "summary": []}
    for key, given, status in (
        (maker, item, 200),
        (other, item, 404),
        (other, item | {"type": {}}, 200),
        (other, item | {"id": "rs_from_elsewhere"}, 200),
        (other, item | {"encrypted_content": "gAAA"}, 200),
        (other, {"type": "message", "id": "rs_1", "role": "assistant", "content": "Hello"}, 200),
    ):
        if status == 200:
            any_gateway.provider.answer(200, JSON, answer)
        body = {"model": MODEL, "input": [given, {"role": "user", "content": "And?"}], "store": False}
        assert (await any_gateway.post(key, "/v1/responses", body)).status_code == status, given
    refused = await any_gateway.post(other, "/v1/conversations", {"items": [item]})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")


FOREIGN: list[dict[str, Any]] = [
    {"previous_response_id": "resp_1"},
    {"conversation": "conv_1"},
    {"conversation": {"id": "conv_1"}},
    {"prompt": {"id": "pmpt_1"}},
    {"input": [{"type": "item_reference", "id": "msg_1"}]},
    {"input": [{"id": "msg_1"}]},
    {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
    {"input": [{"role": "user", "content": [{"type": "input_image", "f\\u0069le_id": "file-1"}]}]},
    {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
    {
        "tools": [
            {
                "type": "shell",
                "environment": {
                    "type": "container_auto",
                    "skills": [{"type": "skill_reference", "skill_id": "skill_1"}],
                },
            }
        ]
    },
    {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}], "c\\u006fntent": "Hi"}]},
    {"tools": [{"type": "code_interpreter", "container": "cntr_1"}]},
    {"tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-1"]}}]},
]


async def test_response_that_names_what_is_not_ones_own_is_not_found(gateway: RunningGateway) -> None:
    await made(gateway, gateway.openai(await gateway.key()))
    other = await gateway.key()
    for naming in FOREIGN:
        body = json.dumps({"model": MODEL, "input": "Hi", **naming}).replace("\\\\u", "\\u").encode()
        refused = await gateway.post(other, "/v1/responses", body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found"), naming
    assert len(gateway.provider.requests) == 1
    assert len(await gateway.usage()) == 1


async def test_chat_that_names_a_file_is_not_found(gateway: RunningGateway) -> None:
    content = [{"type": "file", "file": {"file_id": "file-1"}}]
    refused = await gateway.chat(await gateway.key(), messages=[{"role": "user", "content": content}])
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")
