"""Files, uploads, vector stores and conversations with OpenAI's own client: each owner has its own and no other's."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from sqlalchemy import update

from gateway.core.limits import Interval, Limit, Metric, Scope
from gateway.store import limit_opening
from gateway.store.provider_objects import provider_object
from tests.gateway import MODEL, RunningGateway, bearer
from tests.shelf import Shelf

LINE = b'{"custom_id":"1"}\n'


@pytest.fixture
def shelf(provider: Any) -> Shelf:
    """The scripted provider as a shelf."""
    kept = Shelf()
    provider.always(kept)
    return kept


@pytest.fixture
async def client(any_gateway: RunningGateway) -> AsyncIterator[AsyncOpenAI]:
    """A member's client, without limits."""
    yield any_gateway.openai(await any_gateway.key())


async def file_of(client: AsyncOpenAI, name: str = "a.jsonl", purpose: Any = "batch") -> str:
    return (await client.files.create(file=(name, LINE), purpose=purpose)).id


async def test_file_is_sent_shown_read_and_deleted(
    any_gateway: RunningGateway, shelf: Shelf, client: AsyncOpenAI
) -> None:
    made = await client.files.create(file=("a.jsonl", LINE * 3), purpose="batch")
    assert (made.filename, made.purpose, made.bytes) == ("a.jsonl", "batch", len(LINE) * 3)
    assert (await client.files.retrieve(made.id)).id == made.id
    assert (await client.files.content(made.id)).content == LINE * 3
    assert [file.id async for file in await client.files.list()] == [made.id]
    assert (await client.files.delete(made.id)).deleted
    assert [file async for file in await client.files.list()] == []
    with pytest.raises(openai.NotFoundError) as raised:
        await client.files.retrieve(made.id)
    assert raised.value.code == "not_found"
    rows = await any_gateway.usage(6)
    assert {row.cost_nano_usd for row in rows} == {0} and all(row.requests == 1 for row in rows)
    assert [row.operation for row in rows][:3] == ["files.create", "files.retrieve", "files.content"]
    await any_gateway.audit()


async def test_file_that_is_gone_at_the_provider_is_gone_from_the_list_once_it_is_deleted(
    gateway: RunningGateway, shelf: Shelf
) -> None:
    client = gateway.openai(await gateway.key())
    made = await file_of(client)
    gateway.provider.answer(503, {"content-type": "application/json"}, b'{"error":{"message":"Later"}}')
    with pytest.raises(openai.InternalServerError):
        await client.files.delete(made)
    assert [file.id async for file in await client.files.list()] == [made]
    gateway.provider.answer(404, {"content-type": "application/json"}, b'{"error":{"message":"No such File object"}}')
    with pytest.raises(openai.NotFoundError):
        await client.files.delete(made)
    assert [file async for file in await client.files.list()] == []


async def test_files_are_listed_by_pages_newest_first_and_by_purpose(
    any_gateway: RunningGateway, shelf: Shelf, client: AsyncOpenAI
) -> None:
    made = [await file_of(client, f"{number}", "batch" if number % 3 else "user_data") for number in range(7)]
    await spread(any_gateway)
    first = await client.files.list(limit=3)
    assert [file.id for file in first.data] == made[:3:-1] and first.has_more
    assert [file.id async for file in first] == made[::-1]
    assert [file.id async for file in await client.files.list(limit=2, order="asc")] == made
    assert [file.id async for file in await client.files.list(limit=1, purpose="user_data")] == [
        made[6],
        made[3],
        made[0],
    ]
    assert "GET /files" not in shelf.asked


async def spread(gateway: RunningGateway) -> None:
    """Have things been made one second after the other, in the order of their numbers."""

    def work(connection: Any) -> None:
        for number in range(1, 30):
            like = provider_object.c.external_id.like(f"%\\_{number}", escape="\\")
            exact = like | provider_object.c.external_id.like(f"%-{number}")
            connection.execute(update(provider_object).where(exact).values(created_at=number))

    await gateway.change(work)


async def test_file_list_leaves_out_what_has_expired(gateway: RunningGateway, shelf: Shelf) -> None:
    client = gateway.openai(await gateway.key())
    kept = await file_of(client)
    shelf.others["POST /files"] = lambda _: [b""]
    gateway.provider.answer(200, {"content-type": "application/json"}, b'{"id":"file-old","expires_at":1700000000}')
    await file_of(client)
    assert [file.id async for file in await client.files.list()] == [kept]


async def test_upload_in_parts_becomes_a_file_of_its_maker(shelf: Shelf, client: AsyncOpenAI) -> None:
    upload = await client.uploads.create(bytes=6, filename="whole.jsonl", mime_type="text/jsonl", purpose="batch")
    parts = [await client.uploads.parts.create(upload.id, data=half) for half in (b"abc", b"def")]
    whole = await client.uploads.complete(upload.id, part_ids=[part.id for part in parts])
    assert whole.file is not None
    assert (await client.files.retrieve(whole.file.id)).filename == "whole.jsonl"
    other = await client.uploads.create(bytes=6, filename="no.jsonl", mime_type="text/jsonl", purpose="batch")
    assert (await client.uploads.cancel(other.id)).status == "cancelled"


async def test_vector_store_is_filled_searched_listed_and_deleted(
    any_gateway: RunningGateway, shelf: Shelf, client: AsyncOpenAI
) -> None:
    file = await file_of(client, purpose="user_data")
    store = await client.vector_stores.create(name="Manuals", file_ids=[file])
    assert (await client.vector_stores.update(store.id, name="Books")).name == "Books"
    added = await client.vector_stores.files.create(store.id, file_id=file, attributes={"file_id": "my own word"})
    assert (await client.vector_stores.files.retrieve(added.id, vector_store_id=store.id)).id == file
    assert [one.id async for one in await client.vector_stores.files.list(store.id)] == [file]
    await client.vector_stores.files.update(file, vector_store_id=store.id, attributes={"a": 1})
    batch = await client.vector_stores.file_batches.create(store.id, file_ids=[file])
    assert (await client.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store.id)).id == batch.id
    await client.vector_stores.file_batches.list_files(batch.id, vector_store_id=store.id)
    await client.vector_stores.file_batches.cancel(batch.id, vector_store_id=store.id)
    assert (await client.vector_stores.search(store.id, query="How?")).data == []
    await client.vector_stores.files.delete(file, vector_store_id=store.id)
    assert [one.name async for one in await client.vector_stores.list()] == ["Books"]
    assert (await client.vector_stores.delete(store.id)).deleted
    assert [one async for one in await client.vector_stores.list()] == []
    await any_gateway.audit()


async def test_vector_stores_are_paged_both_ways_as_they_are_now(
    any_gateway: RunningGateway, shelf: Shelf, client: AsyncOpenAI
) -> None:
    made = [(await client.vector_stores.create(name=f"{number}")).id for number in range(5)]
    await spread(any_gateway)
    assert [one.id async for one in await client.vector_stores.list(limit=2)] == made[::-1]
    page = await client.vector_stores.list(limit=2, before=made[1])
    assert [one.id for one in page.data] == [made[3], made[2]] and page.has_more
    page = await client.vector_stores.list(limit=2, order="asc", before=made[1])
    assert [one.id for one in page.data] == [made[0]] and not page.has_more
    del shelf.things[f"/vector_stores/{made[2]}"]
    assert [one.id async for one in await client.vector_stores.list()] == [made[4], made[3], made[1], made[0]]
    with pytest.raises(openai.NotFoundError):
        await client.vector_stores.retrieve(made[2])


async def test_conversation_is_made_filled_and_gone_on_from(
    any_gateway: RunningGateway, shelf: Shelf, client: AsyncOpenAI
) -> None:
    made = await client.conversations.create(metadata={"id": "mine"})
    text: Any = {"type": "message", "role": "user", "content": "Hi"}
    await client.conversations.items.create(made.id, items=[text])
    [item] = [one async for one in await client.conversations.items.list(made.id)]
    assert (await client.conversations.items.retrieve(str(item.id), conversation_id=made.id)).id == item.id
    await client.conversations.update(made.id, metadata={"a": "b"})
    shelf.others["POST /responses"] = lambda _: [b""]
    any_gateway.provider.answer(200, {"content-type": "application/json"}, b'{"id":"resp_1","status":"completed"}')
    await client.responses.create(model=MODEL, input="And?", conversation=made.id)
    await client.conversations.items.delete(str(item.id), conversation_id=made.id)
    await client.conversations.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        await client.conversations.retrieve(made.id)


async def test_own_file_may_be_named_in_calls(gateway: RunningGateway, shelf: Shelf) -> None:
    client = gateway.openai(await gateway.key())
    file = await file_of(client, purpose="user_data")
    gateway.provider.chat("Seen")
    content: Any = [{"type": "file", "file": {"file_id": file}}]
    answer = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])
    assert answer.choices[0].message.content == "Seen"


CHARGED = [Metric.COST, Metric.TOKENS, Metric.INPUT_TOKENS, Metric.OUTPUT_TOKENS]


@pytest.mark.parametrize("metric", CHARGED)
async def test_route_whose_price_nobody_tells_is_refused_to_keys_with_a_limit_on_cost_or_tokens(
    gateway: RunningGateway, shelf: Shelf, metric: Metric
) -> None:
    key = await gateway.key(limits=[(Metric.REQUESTS, Interval.DAY, 100)])
    client = gateway.openai(key)
    store = await client.vector_stores.create(name="x")
    file = await file_of(client)
    assert (await client.vector_stores.search(store.id, query="How?")).data == []
    limit = Limit("lim_later", Scope.API_KEY, "key_1", metric, Interval.MONTH, 10**9)
    await gateway.change(lambda connection: limit_opening.create(connection, limit, 1_700_000_000))
    refused: list[Callable[[], Awaitable[Any]]] = [
        lambda: client.vector_stores.create(name="x"),
        lambda: client.vector_stores.update(store.id, expires_after={"anchor": "last_active_at", "days": 365}),
        lambda: client.vector_stores.search(store.id, query="How?"),
        lambda: client.vector_stores.files.create(store.id, file_id=file),
        lambda: client.vector_stores.file_batches.create(store.id, file_ids=[file]),
    ]
    for ask in refused:
        with pytest.raises(openai.PermissionDeniedError) as told:
            await ask()
        assert told.value.code == "route_not_priced"
    assert [kept.id async for kept in client.vector_stores.list()] == [store.id]
    await client.vector_stores.retrieve(store.id)
    await client.vector_stores.delete(store.id)
    await client.files.delete(file)
    await client.conversations.create()


async def test_request_limits_count_looks_and_lists(gateway: RunningGateway, shelf: Shelf) -> None:
    client = gateway.openai(await gateway.key(limits=[(Metric.REQUESTS, Interval.DAY, 3)]))
    file = await file_of(client)
    await client.files.list()
    await client.files.retrieve(file)
    with pytest.raises(openai.RateLimitError):
        await client.files.list()
    await gateway.audit()


BAD: list[tuple[str, str, Any, str | None]] = [
    ("GET", "/v1/files?limit=0", None, "limit"),
    ("GET", "/v1/files?limit=x", None, "limit"),
    ("GET", "/v1/vector_stores?limit=101", None, "limit"),
    ("GET", "/v1/vector_stores?order=up", None, "order"),
    ("GET", "/v1/files?after=file-none", None, "after"),
    ("POST", "/v1/files", b"{}", None),
    ("POST", "/v1/conversations", None, None),
    ("POST", "/v1/vector_stores", b"{", None),
    ("POST", "/v1/vector_stores", b'{"file_ids":[],"file_ids":[]}', "file_ids"),
    ("POST", "/v1/vector_stores", b'{"file_ids":[],"f\\u0069le_ids":[]}', "file_ids"),
    ("POST", "/v1/conversations", b'{"items":"\xff"}', None),
    ("POST", "/v1/conversations", b"[" * 200, None),
]


async def test_bad_request_about_objects_says_what_is_wrong_and_charges_nothing(
    gateway: RunningGateway, shelf: Shelf
) -> None:
    key = await gateway.key()
    for method, path, body, param in BAD:
        refused = await gateway.http.request(method, path, content=body, headers=bearer(key))
        assert refused.status_code == 400, (path, refused.text)
        assert refused.json()["error"]["param"] == param, (path, refused.text)
    assert shelf.asked == []
    assert sum(row.requests for row in await gateway.usage()) == 0


# --- one tenant tries another's ---


FORM = b'--x\r\ncontent-disposition: form-data; name="data"; filename="a"\r\n\r\nabc\r\n--x--\r\n'


def tries(owned: dict[str, str]) -> list[tuple[str, str, Any]]:
    """Every route, and every field of a body, that names somebody else's thing."""
    file, upload, part = owned["file"], owned["upload"], owned["part"]
    store, batch, talk = owned["store"], owned["file_batch"], owned["conversation"]
    mine = owned["own_store"]
    content = [{"type": "input_file", "file_id": file}]
    item = {"type": "message", "role": "user", "content": content}
    tool = {"type": "file_search", "vector_store_ids": [store]}
    return [
        ("GET", f"/v1/files/{file}", None),
        ("GET", f"/v1/files/{file}/content", None),
        ("DELETE", f"/v1/files/{file}", None),
        ("POST", f"/v1/uploads/{upload}/parts", FORM),
        ("POST", f"/v1/uploads/{upload}/complete", {"part_ids": []}),
        ("POST", f"/v1/uploads/{upload}/cancel", None),
        ("POST", f"/v1/uploads/{owned['own_upload']}/complete", {"part_ids": [part]}),
        ("GET", f"/v1/vector_stores/{store}", None),
        ("POST", f"/v1/vector_stores/{store}", {"name": "x"}),
        ("DELETE", f"/v1/vector_stores/{store}", None),
        ("POST", f"/v1/vector_stores/{store}/search", {"query": "x"}),
        ("GET", f"/v1/vector_stores/{store}/files", None),
        ("POST", f"/v1/vector_stores/{store}/files", {"file_id": owned["own_file"]}),
        ("POST", f"/v1/vector_stores/{mine}/files", {"file_id": file}),
        ("GET", f"/v1/vector_stores/{store}/files/{file}", None),
        ("GET", f"/v1/vector_stores/{mine}/files/{file}", None),
        ("POST", f"/v1/vector_stores/{mine}/files/{file}", {"attributes": {}}),
        ("DELETE", f"/v1/vector_stores/{mine}/files/{file}", None),
        ("GET", f"/v1/vector_stores/{mine}/files/{file}/content", None),
        ("POST", f"/v1/vector_stores/{store}/file_batches", {"file_ids": []}),
        ("POST", f"/v1/vector_stores/{mine}/file_batches", {"file_ids": [file]}),
        ("POST", f"/v1/vector_stores/{mine}/file_batches", {"files": [{"file_id": file}]}),
        ("GET", f"/v1/vector_stores/{store}/file_batches/{batch}", None),
        ("GET", f"/v1/vector_stores/{mine}/file_batches/{batch}", None),
        ("POST", f"/v1/vector_stores/{mine}/file_batches/{batch}/cancel", None),
        ("GET", f"/v1/vector_stores/{mine}/file_batches/{batch}/files", None),
        ("POST", "/v1/vector_stores", {"file_ids": [file]}),
        ("GET", f"/v1/conversations/{talk}", None),
        ("POST", f"/v1/conversations/{talk}", {"metadata": {}}),
        ("DELETE", f"/v1/conversations/{talk}", None),
        ("GET", f"/v1/conversations/{talk}/items", None),
        ("POST", f"/v1/conversations/{talk}/items", {"items": []}),
        ("GET", f"/v1/conversations/{talk}/items/msg_1", None),
        ("DELETE", f"/v1/conversations/{talk}/items/msg_1", None),
        ("POST", "/v1/conversations", {"items": [item]}),
        ("POST", "/v1/conversations", {"items": [{"type": "item_reference", "id": "msg_1"}]}),
        ("POST", "/v1/responses", {"model": MODEL, "input": "x", "conversation": talk}),
        ("POST", "/v1/responses", {"model": MODEL, "input": "x", "conversation": {"id": talk}}),
        ("POST", "/v1/responses", {"model": MODEL, "input": [item]}),
        ("POST", "/v1/responses", {"model": MODEL, "input": "x", "tools": [tool]}),
        ("POST", "/v1/responses", doubled(owned["own_file"], file)),
        ("POST", "/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": [
            {"type": "file", "file": {"file_id": file}}]}]}),
    ]  # fmt: skip


def doubled(first: str, second: str) -> bytes:
    """A request in which one reader finds the first file and another the second."""
    part = f'{{"type":"input_file","file_id":"{second}","file_id":"{first}"}}'
    return f'{{"model":"{MODEL}","input":[{{"role":"user","content":[{part}]}}]}}'.encode()


async def things_of(client: AsyncOpenAI) -> dict[str, str]:
    upload = await client.uploads.create(bytes=6, filename="x", mime_type="text/jsonl", purpose="batch")
    file, store = await file_of(client), await client.vector_stores.create(name="x")
    return {
        "file": file,
        "upload": upload.id,
        "part": (await client.uploads.parts.create(upload.id, data=b"abc")).id,
        "store": store.id,
        "file_batch": (await client.vector_stores.file_batches.create(store.id, file_ids=[file])).id,
        "conversation": (await client.conversations.create()).id,
    }


async def test_what_another_made_does_not_exist_in_any_path_or_field(any_gateway: RunningGateway, shelf: Shelf) -> None:
    theirs = await things_of(any_gateway.openai(await any_gateway.key()))
    key = await any_gateway.key()
    own = await things_of(any_gateway.openai(key))
    tried = tries(theirs | {f"own_{name}": id for name, id in own.items()})
    asked_before = list(shelf.asked)
    for method, path, body in tried:
        content = body if isinstance(body, bytes) else None
        headers = bearer(key) | ({"content-type": "multipart/form-data; boundary=x"} if body is FORM else {})
        refused = await any_gateway.http.request(
            method, path, content=content, json=body if content is None else None, headers=headers
        )
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found"), (method, path, body)
    assert shelf.asked == asked_before
    for listed in ("/v1/files", "/v1/vector_stores"):
        page = (await any_gateway.http.get(listed, headers=bearer(key))).json()
        assert {thing["id"] for thing in page["data"]} <= set(own.values())
        beyond = await any_gateway.http.get(f"{listed}?after={theirs['file']}", headers=bearer(key))
        assert beyond.status_code == 400
    await any_gateway.audit()


async def test_id_that_no_database_can_hold_is_one_that_nobody_made(any_gateway: RunningGateway, shelf: Shelf) -> None:
    key = await any_gateway.key()
    odd = "file\0-1"
    part = {"type": "input_file", "file_id": odd}
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("/v1/responses", {"model": MODEL, "input": "x", "previous_response_id": odd}),
        ("/v1/responses", {"model": MODEL, "input": [{"role": "user", "content": [part]}]}),
        ("/v1/vector_stores", {"file_ids": [odd]}),
        ("/v1/batches", {"input_file_id": odd, "endpoint": "/v1/responses", "completion_window": "24h"}),
    ]
    for path, body in bodies:
        refused = await any_gateway.post(key, path, body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found"), path
    for cursor in ("after", "before"):
        refused = await any_gateway.http.get(f"/v1/vector_stores?{cursor}=%00", headers=bearer(key))
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_cursor")
    assert shelf.asked == []
