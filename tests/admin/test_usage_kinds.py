"""The kinds of usage beside completions and embeddings, through OpenAI's SDK: what each counts and groups by."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from gateway.ledger.entries import Figures
from tests.admin.reporting import Reporting, reporting_on
from tests.team import NOW, call, running_team

DAY = 86_400
TODAY = NOW - NOW % DAY


@pytest.fixture
async def reporting(database_url: str) -> AsyncIterator[Reporting]:
    async with running_team(database_url) as team, reporting_on(team) as served:
        await team.settle(
            call("req_1", NOW, Figures(1, 1, 9, cost_nano_usd=40_000_000, images=2), operation="images.generations",
                 model="gpt-image-1", size="1024x1024"),
            call("req_2", NOW, Figures(1, 1, images=1), operation="images.edits", model="gpt-image-1",
                 size="1024x1536", key="key_2"),
            call("req_3", NOW, Figures(1, 1, images=5), operation="images.generations", model="dall-e-2",
                 size="1024x1024", key="key_2"),
            call("req_4", NOW, Figures(1, 1, characters=120), operation="audio.speech", model="tts-1"),
            call("req_5", NOW, Figures(1, 1, audio_ms=1_400), operation="audio.transcriptions", model="whisper-1"),
            call("req_6", NOW, Figures(1, 1, audio_ms=1_100), operation="audio.translations", model="whisper-1"),
            call("req_7", NOW, Figures(1, 1, 33), operation="moderations", model="omni-moderation-latest"),
            call("req_8", NOW, Figures(1, 1, 100, 40, output_tokens=7, cost_nano_usd=1)),
            call("req_9", NOW, Figures(1, 0), key="key_2"),
        )  # fmt: skip
        yield served


def results(page: Any) -> list[dict[str, Any]]:
    """All results of a page, without what is null."""
    return [result.to_dict(exclude_none=True) for bucket in page.data for result in bucket.results]


COUNTED: Sequence[tuple[str, str, Mapping[str, int]]] = (
    ("audio_speeches", "tts-1", {"num_model_requests": 1, "characters": 120}),
    ("audio_transcriptions", "whisper-1", {"num_model_requests": 2, "seconds": 3}),
    ("moderations", "omni-moderation-latest", {"num_model_requests": 1, "input_tokens": 33}),
)


@pytest.mark.parametrize("width", ["1m", "1h", "1d"])
async def test_usage_of_a_kind_counts_its_own_unit(reporting: Reporting, width: str) -> None:
    for kind, model, figures in COUNTED:
        ask = getattr(reporting.admin.admin.organization.usage, kind)
        page = await ask(start_time=NOW, end_time=NOW + 1, bucket_width=width, group_by=["model"])
        assert results(page) == [{"model": model, "object": f"organization.usage.{kind}.result", **figures}]


IMAGES: Sequence[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]] = (
    ({}, [{"num_model_requests": 3, "images": 8}]),
    (
        {"group_by": ["source"]},
        [
            {"num_model_requests": 1, "images": 1, "source": "image.edit"},
            {"num_model_requests": 2, "images": 7, "source": "image.generation"},
        ],
    ),
    (
        {"group_by": ["size"]},
        [
            {"num_model_requests": 2, "images": 7, "size": "1024x1024"},
            {"num_model_requests": 1, "images": 1, "size": "1024x1536"},
        ],
    ),
    ({"sizes": ["1024x1024"]}, [{"num_model_requests": 2, "images": 7}]),
    ({"sources": ["image.edit"]}, [{"num_model_requests": 1, "images": 1}]),
    ({"sources": ["image.variation"]}, []),
    (
        {"group_by": ["size", "source", "model", "project_id"], "sizes": ["1024x1024"], "models": ["gpt-image-1"]},
        [
            {
                "num_model_requests": 1, "images": 2, "size": "1024x1024", "source": "image.generation",
                "model": "gpt-image-1", "project_id": "proj_1",
            }
        ],
    ),
)  # fmt: skip


@pytest.mark.parametrize("width", ["1m", "1h", "1d"])
async def test_usage_of_images_is_told_by_size_and_source(reporting: Reporting, width: str) -> None:
    ask: Any = reporting.admin.admin.organization.usage.images
    for query, found in IMAGES:
        page = await ask(start_time=NOW, end_time=NOW + 1, bucket_width=width, **query)
        assert results(page) == [{"object": "organization.usage.images.result", **result} for result in found]


async def test_usage_by_api_source_is_unlabeled(reporting: Reporting) -> None:
    page = await reporting.admin.admin.organization.usage.completions(start_time=TODAY, group_by=["api_source"])
    (result,) = results(page)
    assert (result["api_source"], result["input_tokens"]) == ("unlabeled", 100)


async def test_usage_total_has_every_kind_with_its_cost_and_failures(reporting: Reporting) -> None:
    answer = await reporting.http.get("usage/total", params={"start_time": TODAY, "group_by": "operation"})
    (bucket,) = answer.json()["data"]
    assert {
        one["operation"]: (one["requests"], one["num_model_requests"], one["amount"]["value"])
        for one in bucket["results"]
    } == {
        "chat": (2, 1, 1e-9),
        "images.generations": (2, 2, 0.04),
        "images.edits": (1, 1, 0),
        "audio.speech": (1, 1, 0),
        "audio.transcriptions": (1, 1, 0),
        "audio.translations": (1, 1, 0),
        "moderations": (1, 1, 0),
    }
    whole = (await reporting.http.get("usage/total", params={"start_time": TODAY})).json()["data"][0]["results"][0]
    assert (whole["images"], whole["seconds"], whole["characters"], whole["input_tokens"]) == (8, 3, 120, 142)


async def test_usage_of_a_kind_with_a_members_key_is_its_own(reporting: Reporting) -> None:
    page = await reporting.member.admin.organization.usage.images(start_time=TODAY)
    assert results(page) == [{"object": "organization.usage.images.result", "num_model_requests": 1, "images": 2}]


async def test_costs_by_line_item_tell_the_quantity_in_its_own_unit(reporting: Reporting) -> None:
    page = await reporting.admin.admin.organization.usage.costs(start_time=TODAY, group_by=["line_item"])
    assert {result["line_item"]: (result["quantity"], result["quantity_unit"]) for result in results(page)} == {
        "dall-e-2, images.generations": (5, "images"),
        "gpt-4o-mini, chat": (107, "tokens"),
        "gpt-image-1, images.edits": (1, "images"),
        "gpt-image-1, images.generations": (9, "tokens"),
        "omni-moderation-latest, moderations": (33, "tokens"),
        "tts-1, audio.speech": (120, "characters"),
        "whisper-1, audio.transcriptions": (1, "duration_seconds"),
        "whisper-1, audio.translations": (1, "duration_seconds"),
    }


REFUSED: Sequence[tuple[str, Mapping[str, str], str]] = (
    ("images", {"sizes": "x" * 33}, "sizes[0]"),
    ("images", {"sources": "image.theft"}, "sources[0]"),
    ("images", {"group_by": "batch"}, "group_by[0]"),
    ("audio_speeches", {"group_by": "size"}, "group_by[0]"),
    ("moderations", {"batch": "true"}, "batch"),
    ("total", {"group_by": "size"}, "group_by[0]"),
)


async def test_usage_of_a_kind_refuses_what_it_does_not_know(reporting: Reporting) -> None:
    for kind, query, param in REFUSED:
        answer = await reporting.http.get(f"usage/{kind}", params={"start_time": NOW, **query})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
