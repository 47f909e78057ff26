"""Pictures by OpenAI's SDK: made and edited, whole and streamed, each charged what it used."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.core.limits import Interval, Metric
from gateway.settings import CatalogSettings
from tests.events import DONE, EVENT_STREAM, JSON, event
from tests.gateway import LimitSpec, RunningGateway, UsageRow, bearer, running_gateway
from tests.media import PICTURE, field, form, form_type, image_events, image_usage, images_answer
from tests.patience import PATIENCE_SECONDS
from tests.provider import Cut, Provider, compose

GENERATIONS, EDITS, VARIATIONS = "/v1/images/generations", "/v1/images/edits", "/v1/images/variations"
MODEL = "gpt-image-1"
PLENTY: list[LimitSpec] = [(Metric.COST, Interval.DAY, 10**10), (Metric.TOKENS, Interval.DAY, 10**6)]
BY_PICTURE = CatalogSettings(prices={"painter": {"image": "0.04", "image_hd": "0.08"}})
HIGH_1024 = 4_160


def asked(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "prompt": "A cat", **fields}


def figures(row: UsageRow) -> tuple[Any, ...]:
    return row.operation, row.source, row.input_tokens, row.output_tokens, row.images, row.cost_nano_usd


async def test_picture_is_charged_by_the_providers_figures(any_gateway: RunningGateway) -> None:
    answer = images_answer(2, usage=image_usage(text=12, output=2 * HIGH_1024))
    any_gateway.provider.answer(200, JSON, answer)
    client = any_gateway.openai(await any_gateway.key(limits=PLENTY))
    made = await client.images.with_raw_response.generate(
        model=MODEL, prompt="A cat", n=2, size="1024x1024", quality="high"
    )
    assert made.content == answer and made.headers["x-gateway-cost-usd"] == "0.33286"
    assert [image.b64_json for image in made.parse().data or ()] == [PICTURE, PICTURE]
    sent = await any_gateway.provider.request()
    assert (sent.method, sent.path) == ("POST", "/v1/images/generations")
    row = await any_gateway.charged()
    assert figures(row) == ("images.generations", "reported", 12, 8_320, 2, 12 * 5_000 + 8_320 * 40_000)
    assert (row.image_size, row.model, row.succeeded) == ("1024x1024", MODEL, 1)
    await any_gateway.audit()


async def test_output_of_a_model_that_prices_it_apart_is_charged_as_pictures(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, JSON, images_answer(usage=image_usage(text=0, output=1_000)))
    await gateway.post(await gateway.key(limits=PLENTY), GENERATIONS, asked(model="gpt-image-1.5"))
    assert (await gateway.charged()).cost_nano_usd == 1_000 * 32_000


async def test_pictures_are_edited_from_several_files_and_bytes_pass_unchanged(any_gateway: RunningGateway) -> None:
    any_gateway.provider.answer(200, JSON, images_answer(usage=image_usage(text=5, pictures=700)))
    client = any_gateway.openai(await any_gateway.key(limits=PLENTY))
    edited = await client.images.edit(
        model=MODEL,
        prompt="A cat with a hat",
        image=[("cat.png", b"\x89PNG\r\n--cat"), ("hat.png", b"\x89PNG\r\nhat")],
        mask=("mask.png", b"mask"),
        size="1024x1024",
        input_fidelity="high",
    )
    assert edited.usage is not None and edited.usage.input_tokens_details.image_tokens == 700
    sent = await any_gateway.provider.request()
    assert sent.path == "/v1/images/edits"
    boundary = (sent.header("content-type") or "").partition("boundary=")[2]
    assert sent.body.count(b"--" + boundary.encode()) == 8 and b"\x89PNG\r\n--cat" in sent.body
    row = await any_gateway.charged()
    assert figures(row) == ("images.edits", "reported", 705, HIGH_1024, 1, 25_000 + 7_000_000 + 166_400_000)
    assert row.input_image_tokens == 700


async def test_variations_are_served_as_long_as_the_sdk_has_them(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, JSON, b'{"created":1,"data":[{"url":"https://x/1"}]}')
    client = gateway.openai(await gateway.key())
    with pytest.warns(DeprecationWarning):
        made = await client.images.create_variation(image=("a.png", b"a"), model="dall-e-2", n=1, size="256x256")
    assert made.data is not None and made.data[0].url == "https://x/1"
    row = await gateway.charged()
    assert figures(row) == ("images.variations", "reported", 0, 0, 1, None) and row.image_size == "256x256"


@pytest.mark.parametrize("kind", ["image_generation", "image_edit"])
async def test_streamed_picture_comes_as_it_is_painted_and_its_end_waits_for_the_ledger(
    gateway: RunningGateway, kind: str
) -> None:
    first, second, last = image_events(kind)
    painted = asyncio.Event()
    gateway.provider.answer(200, EVENT_STREAM, [first, second, painted, last], framing="chunked")
    client = gateway.openai(await gateway.key(limits=PLENTY))
    words: dict[str, Any] = {"model": MODEL, "prompt": "A cat", "stream": True, "partial_images": 2}
    if kind == "image_edit":
        stream = await client.images.edit(image=("a.png", b"a"), **words)
    else:
        stream = await client.images.generate(**words)
    kinds = []
    async for one in stream:
        kinds.append(one.type)
        assert one.b64_json == PICTURE
        assert len(await gateway.usage()) == (1 if one.type.endswith("completed") else 0)
        if len(kinds) == 2:
            painted.set()
    assert kinds == [f"{kind}.partial_image", f"{kind}.partial_image", f"{kind}.completed"]
    row = await gateway.charged()
    assert figures(row)[1:] == ("reported", 10, 4_360, 1, 50_000 + 4_360 * 40_000)


async def test_stream_comes_back_byte_for_byte_whatever_pieces_it_comes_in(gateway: RunningGateway) -> None:
    whole = b"".join(image_events()).replace(PICTURE.encode(), b"A" * 300_000)
    for size in (1_000, 65_536, len(whole)):
        steps = [whole[at : at + size] for at in range(0, len(whole), size)]
        gateway.provider.answer(200, EVENT_STREAM, list(steps), framing="chunked")
        answer = await gateway.post(await gateway.key(limits=PLENTY), GENERATIONS, asked(stream=True))
        assert answer.content == whole
    assert {row.source for row in await gateway.usage()} == {"reported"}


async def test_stream_of_several_pictures_goes_on_to_the_last_and_their_figures_add_up(gateway: RunningGateway) -> None:
    whole = image_events(partial=0, usage=image_usage(output=100)) * 2
    gateway.provider.answer(200, EVENT_STREAM, [*whole, DONE], framing="chunked")
    answer = await gateway.post(await gateway.key(limits=PLENTY), GENERATIONS, asked(stream=True, n=2))
    assert answer.content == b"".join(whole) + DONE
    row = await gateway.charged()
    assert (row.input_tokens, row.output_tokens, row.images) == (20, 200, 2)


async def test_answer_of_many_megabytes_is_passed_on_and_its_figures_are_found(gateway: RunningGateway) -> None:
    big = "A" * 9_000_000
    for usage_first in (False, True):
        pictures = {"data": [{"b64_json": big}, {"b64_json": big}]}
        rest = {"size": "1024x1024", "quality": "high", "usage": image_usage(output=2 * HIGH_1024)}
        body = json.dumps({"created": 1} | (rest | pictures if usage_first else pictures | rest)).encode()
        gateway.provider.answer(200, JSON, body)
        answer = await gateway.post(await gateway.key(limits=PLENTY), GENERATIONS, asked(n=2))
        assert answer.content == body
    for row in await gateway.usage():
        assert figures(row)[1:5] == ("reported", 10, 8_320, 2)


async def test_picture_without_figures_is_charged_as_it_was_asked_for(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, JSON, images_answer(2, usage=None, size=None))
    fields = asked(n=2, size="1024x1536", quality="high")
    await gateway.post(await gateway.key(limits=PLENTY), GENERATIONS, fields)
    row = await gateway.charged()
    assert figures(row) == ("images.generations", "counted", 4, 12_480, 2, 4 * 5_000 + 12_480 * 40_000)
    assert row.image_size == "1024x1536"
    await gateway.audit()


async def test_picture_by_the_piece_costs_its_quality(sqlite_url: str, provider: Provider, tmp_path: Path) -> None:
    async with running_gateway(sqlite_url, provider, tmp_path, catalog=BY_PICTURE) as gateway:
        key = await gateway.key(limits=[(Metric.COST, Interval.DAY, 200_000_000)])
        urls = b'{"created":1,"data":[{"url":"https://x/1"},{"url":"https://x/2"}]}'
        provider.answer(200, JSON, urls)
        # The dearest quality is held, two pictures of 8 cents; the plain one is charged.
        assert (await gateway.post(key, GENERATIONS, asked(model="painter", n=2))).status_code == 200
        refused = await gateway.post(key, GENERATIONS, asked(model="painter", n=2))
        assert refused.status_code == 429 and "$0.16 asked for" in refused.json()["error"]["message"]
        provider.answer(200, JSON, urls)
        fits = asked(model="painter", n=2, quality="standard", size="1024x1024")
        answer = await gateway.post(key, GENERATIONS, fits)
        assert (answer.status_code, answer.headers["x-gateway-cost-usd"]) == (200, "0.08")
        assert [row.cost_nano_usd for row in await gateway.usage()] == [80_000_000, 80_000_000]
        await gateway.audit()


async def test_limit_on_tokens_holds_the_most_that_a_picture_can_be(gateway: RunningGateway) -> None:
    key = await gateway.key(limits=[(Metric.OUTPUT_TOKENS, Interval.DAY, 8_000)])
    high = asked(n=2, size="1024x1024", quality="high")
    assert (await gateway.post(key, GENERATIONS, high)).status_code == 429
    gateway.provider.answer(200, JSON, images_answer(2, usage=image_usage(output=544)))
    assert (await gateway.post(key, GENERATIONS, high | {"quality": "low"})).status_code == 200
    assert (await gateway.charged()).output_tokens == 544


async def test_limit_on_input_holds_the_pictures_of_a_form(gateway: RunningGateway) -> None:
    key = await gateway.key(limits=[(Metric.INPUT_TOKENS, Interval.DAY, 20_000)])
    words = [field("model", MODEL), field("prompt", "A cat")]
    three = form(*words, *[field("image[]", b"x", f"{n}.png") for n in range(3)])
    assert (await gateway.post(key, EDITS, three, **form_type())).status_code == 429
    gateway.provider.answer(200, JSON, images_answer())
    two = form(*words, *[field("image[]", b"x", f"{n}.png") for n in range(2)])
    assert (await gateway.post(key, EDITS, two, **form_type())).status_code == 200


async def test_picture_that_costs_more_than_was_held_is_charged_and_counted(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, JSON, images_answer(usage=image_usage(text=0, output=10_000)))
    key = await gateway.key(limits=[(Metric.COST, Interval.DAY, 500_000_000), (Metric.COST, Interval.MINUTE, 10**12)])
    assert (await gateway.post(key, GENERATIONS, asked(size="1024x1024", quality="low"))).status_code == 200
    assert (await gateway.charged()).cost_nano_usd == 400_000_000
    shown = (await gateway.http.get("/metrics")).text
    overrun = next(
        float(line.split()[1]) for line in shown.splitlines() if line.startswith("gateway_overrun_usd_total")
    )
    held = 781 * 40_000 + (2 + 128) * 10_000  # the picture at its most, the prompt with its margin
    assert overrun == pytest.approx((400_000_000 - held) / 1e9)
    await gateway.audit()


@pytest.mark.parametrize(
    ("model", "metric", "fields", "code"),
    [
        ("own-painter", Metric.COST, {}, "model_not_priced"),
        ("own-painter", Metric.TOKENS, {}, "route_not_priced"),
        ("whisper-1", Metric.COST, {}, "model_not_priced"),
        (MODEL, Metric.COST, {"output_format": "svg"}, "route_not_priced"),
        (MODEL, Metric.OUTPUT_TOKENS, {"output_format": "svg"}, "route_not_priced"),
    ],
)
async def test_what_cannot_be_charged_is_refused_where_a_limit_depends_on_it(
    gateway: RunningGateway, model: str, metric: Metric, fields: dict[str, Any], code: str
) -> None:
    key = await gateway.key(limits=[(metric, Interval.DAY, 10**12)])
    refused = await gateway.post(key, GENERATIONS, asked(model=model, **fields))
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, code)
    assert await gateway.usage() == [] and gateway.provider.requests == []


async def test_what_cannot_be_charged_is_recorded_without_a_cost_where_no_limit_depends_on_it(
    gateway: RunningGateway,
) -> None:
    gateway.provider.always(lambda _request: compose(200, JSON, images_answer()))
    key = await gateway.key(limits=[(Metric.REQUESTS, Interval.DAY, 5), (Metric.CONCURRENCY, None, 2)])
    for fields in ({"model": "own-painter"}, {"output_format": "svg"}):
        assert (await gateway.post(key, GENERATIONS, asked(**fields))).status_code == 200
    assert [(row.cost_nano_usd, row.images) for row in await gateway.usage()] == [(None, 1), (None, 1)]
    await gateway.audit()


async def leave(gateway: RunningGateway, body: dict[str, Any]) -> None:
    """Ask, and hang up as soon as the provider has heard of it."""
    key = await gateway.key(limits=PLENTY)
    asking = asyncio.create_task(gateway.http.post(GENERATIONS, json=body, headers=bearer(key)))
    await asyncio.wait_for(gateway.provider.request(), PATIENCE_SECONDS)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_client_that_leaves_is_charged_what_the_provider_says_at_last(gateway: RunningGateway) -> None:
    painted = asyncio.Event()
    gateway.provider.raw(painted, *compose(200, JSON, images_answer()))
    await leave(gateway, asked())
    assert await gateway.usage() == []
    painted.set()
    row = await gateway.charged()
    assert (row.outcome, *figures(row)[1:5]) == ("client_left", "reported", 10, HIGH_1024, 1)
    await gateway.audit()


async def test_client_that_leaves_for_good_is_charged_the_picture_as_asked(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    provider.raw(Cut.HANG)
    async with running_gateway(sqlite_url, provider, tmp_path, disconnect_drain_seconds=0.0) as gateway:
        await leave(gateway, asked(quality="medium", size="1024x1024"))
        row = await gateway.charged()
        assert (row.outcome, *figures(row)[1:5]) == ("client_left", "counted", 2, 1_756, 1)
        await gateway.audit()


async def test_stream_that_breaks_off_is_charged_as_asked_and_tells_so(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, EVENT_STREAM, [image_events()[0], Cut.RESET], framing="chunked")
    answer = await gateway.post(await gateway.key(limits=PLENTY), GENERATIONS, asked(stream=True, partial_images=1))
    assert answer.content.startswith(image_events()[0]) and b'"upstream_broken"' in answer.content
    row = await gateway.charged()
    assert (row.outcome, *figures(row)[1:5]) == ("upstream_failed", "counted", 2, 7_124, 1)


async def test_stream_in_which_the_provider_fails_is_charged_no_picture(gateway: RunningGateway) -> None:
    failed = event({"type": "error", "error": {"type": "image_generation_user_error", "message": "Blocked."}})
    gateway.provider.answer(200, EVENT_STREAM, [image_events()[0], failed], framing="chunked")
    answer = await gateway.post(await gateway.key(limits=PLENTY), GENERATIONS, asked(stream=True, partial_images=1))
    assert answer.content == image_events()[0] + failed
    assert figures(await gateway.charged())[1:] == ("counted", 2, 0, 0, 10_000)
    await gateway.audit()


async def test_long_answer_that_breaks_off_ends_without_its_end(gateway: RunningGateway) -> None:
    half = b'{"created":1,"data":[{"b64_json":"' + b"A" * 17_000_000
    gateway.provider.answer(200, JSON, [half, Cut.CLOSE], framing="chunked")
    with pytest.raises(httpx.RemoteProtocolError):
        await gateway.post(await gateway.key(limits=PLENTY), GENERATIONS, asked())
    row = await gateway.charged()
    assert (row.outcome, row.source, row.images) == ("upstream_failed", "counted", 1)
    await gateway.audit()


async def test_error_of_the_provider_costs_nothing(gateway: RunningGateway) -> None:
    error = b'{"error":{"message":"Your prompt was blocked.","type":"image_generation_user_error","code":"moderation"}}'
    gateway.provider.answer(400, JSON, error)
    answer = await gateway.post(await gateway.key(limits=PLENTY), GENERATIONS, asked())
    assert (answer.status_code, answer.content) == (400, error)
    assert figures(await gateway.charged()) == ("images.generations", "reported", 0, 0, 0, 0)


async def test_alias_is_written_into_json_and_into_the_form(
    sqlite_url: str, provider: Provider, tmp_path: Path
) -> None:
    catalog = CatalogSettings(aliases={"painter": MODEL})
    provider.always(lambda _request: compose(200, JSON, images_answer()))
    async with running_gateway(sqlite_url, provider, tmp_path, catalog=catalog) as gateway:
        key = await gateway.key(limits=PLENTY)
        await gateway.post(key, GENERATIONS, asked(model="painter"))
        assert (await provider.request()).json() == asked()
        fields = [field("image", b"\x00\xff\r\n", "a.png"), field("prompt", "painter")]
        await gateway.post(key, EDITS, form(field("model", "painter"), *fields), **form_type())
        sent = await provider.request()
        assert sent.body == form(field("model", MODEL), *fields)
        assert sent.header("content-type") == form_type()["content-type"]
        assert [(row.model, row.requested_model) for row in await gateway.usage()] == [(MODEL, "painter")] * 2


async def test_file_at_the_provider_that_another_made_does_not_exist(gateway: RunningGateway) -> None:
    fields = [field("model", MODEL), field("image", b"x", "a.png"), field("images[][file_id]", "file-other")]
    refused = await gateway.post(await gateway.key(), EDITS, form(*fields), **form_type())
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")


async def test_file_named_in_json_that_another_made_does_not_exist(gateway: RunningGateway) -> None:
    refused = await gateway.post(await gateway.key(), GENERATIONS, asked(images=[{"file_id": "file-other"}]))
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")


async def test_large_form_arrives_whole(gateway: RunningGateway) -> None:
    gateway.provider.answer(200, JSON, images_answer())
    body = form(field("model", MODEL), field("prompt", "x"), field("image", bytes(range(256)) * 80_000, "a.png"))
    async with asyncio.timeout(PATIENCE_SECONDS):
        answer = await gateway.post(await gateway.key(), EDITS, body, **form_type())
    assert answer.status_code == 200 and (await gateway.provider.request()).body == body


async def test_pictures_of_every_size_are_in_the_reports_by_size(gateway: RunningGateway) -> None:
    """A provider may leave the size out, and a client may not ask for one: no picture is missed for that."""
    key, admin = await gateway.key(), await gateway.admin_key()
    for told, wanted in (("1024x1024", {}), (None, {"size": "1792x1024"}), (None, {})):
        gateway.provider.answer(200, JSON, images_answer(size=told, usage=image_usage()))
        assert (await gateway.post(key, GENERATIONS, asked(**wanted))).status_code == 200
    await gateway.usage(3)
    url = "/v1/organization/usage/images?start_time=0&limit=1&bucket_width=1d&group_by=size"
    today = (await gateway.usage())[0].admitted_at_us // 1_000_000
    answer = await gateway.http.get(url.replace("=0", f"={today}", 1), headers=bearer(admin))
    found = {one["size"]: one["images"] for one in answer.json()["data"][0]["results"]}
    assert found == {"1024x1024": 1, "1792x1024": 1, "auto": 1}
