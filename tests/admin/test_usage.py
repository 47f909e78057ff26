"""/v1/organization/usage through OpenAI's SDK: buckets, groups, filters, pages, whose rows a key sees."""

from collections.abc import AsyncIterator

import httpx
import pytest
from openai import BadRequestError
from openai.types.admin.organization.usage_completions_response import (
    DataResultOrganizationUsageCompletionsResult as Completions,
)
from openai.types.admin.organization.usage_completions_response import UsageCompletionsResponse
from openai.types.admin.organization.usage_embeddings_response import (
    DataResultOrganizationUsageEmbeddingsResult as Embeddings,
)

from gateway.ledger.entries import Figures
from tests.admin.reporting import Reporting, reporting_on
from tests.team import NOW, call, running_team

DAY = 86_400
TODAY = NOW - NOW % DAY


@pytest.fixture
async def reporting(database_url: str) -> AsyncIterator[Reporting]:
    async with running_team(database_url) as team, reporting_on(team) as served:
        yield served


def completions(page: UsageCompletionsResponse) -> list[Completions]:
    """All results of a page."""
    found = [result for bucket in page.data for result in bucket.results]
    assert all(isinstance(result, Completions) for result in found)
    return [result for result in found if isinstance(result, Completions)]


async def settle_three(reporting: Reporting) -> None:
    await reporting.team.settle(
        call("req_1", NOW, Figures(1, 1, 100, 40, 10, 5, 3, output_tokens=7, output_audio_tokens=2)),
        call("req_2", NOW - DAY, Figures(1, 1, 20), key="key_2", model="gpt-4o", operation="responses", tier="flex"),
        call("req_3", NOW, Figures(1, 0, 3), key="key_2", batch=1),
        call("req_4", NOW, Figures(1, 1, 1000), operation="embeddings", model="text-embedding-3-small"),
        call("req_5", NOW, Figures(1, 1), operation="count_tokens"),
    )


async def test_usage_by_day_has_every_bucket_and_the_sums_of_what_was_charged(reporting: Reporting) -> None:
    await settle_three(reporting)
    page = await reporting.admin.admin.organization.usage.completions(start_time=TODAY - 2 * DAY + 5)
    assert [(bucket.start_time, bucket.end_time) for bucket in page.data] == [
        (TODAY + offset * DAY, TODAY + (offset + 1) * DAY) for offset in (-2, -1, 0)
    ]
    assert [len(bucket.results) for bucket in page.data] == [0, 1, 1]
    assert (page.has_more, page.next_page) == (False, None)
    today = completions(page)[1]
    assert (today.num_model_requests, today.input_tokens, today.output_tokens) == (1, 103, 7)
    assert (today.input_cached_tokens, today.input_cache_write_tokens, today.input_uncached_tokens) == (40, 15, 48)
    assert (today.input_audio_tokens, today.output_audio_tokens, today.model) == (3, 2, None)


async def test_usage_grouped_by_everything_names_every_group(reporting: Reporting) -> None:
    await settle_three(reporting)
    page = await reporting.admin.admin.organization.usage.completions(
        start_time=TODAY - DAY,
        group_by=["project_id", "user_id", "api_key_id", "model", "batch", "service_tier"],
    )
    assert [
        (one.project_id, one.user_id, one.api_key_id, one.model, one.batch, one.service_tier, one.input_tokens)
        for one in completions(page)
    ] == [
        ("proj_2", "user_2", "key_2", "gpt-4o", False, "flex", 20),
        ("proj_1", "user_1", "key_1", "gpt-4o-mini", False, "default", 100),
        ("proj_2", "user_2", "key_2", "gpt-4o-mini", True, "default", 3),
    ]


async def test_usage_filtered_counts_what_matches(reporting: Reporting) -> None:
    await settle_three(reporting)
    usage = reporting.admin.admin.organization.usage
    start = TODAY - DAY
    tokens = {
        "projects": completions(await usage.completions(start_time=start, project_ids=["proj_1"])),
        "users": completions(await usage.completions(start_time=start, user_ids=["user_2"])),
        "keys": completions(await usage.completions(start_time=start, api_key_ids=["key_1", "key_2"])),
        "models": completions(await usage.completions(start_time=start, models=["gpt-4o"])),
        "batch": completions(await usage.completions(start_time=start, batch=True)),
        "not batch": completions(await usage.completions(start_time=start, batch=False)),
    }
    assert {name: sum(one.input_tokens for one in found) for name, found in tokens.items()} == {
        "projects": 100, "users": 23, "keys": 123, "models": 20, "batch": 3, "not batch": 120,
    }  # fmt: skip


@pytest.mark.parametrize(("width", "seconds", "default"), [("1m", 60, 60), ("1h", 3600, 24), ("1d", DAY, 7)])
async def test_usage_pages_through_every_bucket_once(
    reporting: Reporting, width: str, seconds: int, default: int
) -> None:
    first = NOW - NOW % seconds - 2 * default * seconds
    await reporting.team.settle(
        *(call(f"req_{place}", first + place * seconds, Figures(1, 1, 1)) for place in range(2 * default))
    )
    seen, cursor = [], ""
    while True:
        answer = await reporting.http.get(
            "usage/completions",
            params={
                "start_time": first,
                "bucket_width": width,
                "end_time": NOW + 1,
                **({"page": cursor} if cursor else {}),
            },
        )
        page = UsageCompletionsResponse.model_validate(answer.json())
        assert len(page.data) <= default
        seen += [(bucket.start_time, len(bucket.results)) for bucket in page.data]
        if not page.has_more:
            break
        assert page.next_page
        cursor = page.next_page
    assert seen == [(first + place * seconds, int(place < 2 * default)) for place in range(2 * default + 1)]


async def test_usage_page_of_the_sdk_follows_next_page(reporting: Reporting) -> None:
    usage = reporting.admin.admin.organization.usage
    one = await usage.completions(start_time=NOW, end_time=NOW + 120, bucket_width="1m", limit=1)
    assert one.has_more
    assert one.next_page is not None
    two = await usage.completions(start_time=NOW, end_time=NOW + 120, bucket_width="1m", limit=1, page=one.next_page)
    assert two.data[0].start_time == one.data[0].end_time
    place = one.next_page.removeprefix("page_")
    for forged in (f"page_0x{place}", f"page_0{place}", f"page_+{place}", f"page_ {place}", f"page_{place.upper()} "):
        query = httpx.QueryParams(start_time=NOW, end_time=NOW + 120, bucket_width="1m", limit=1, page=forged)
        refused = await reporting.http.get("usage/completions", params=query)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "page"), forged


async def test_usage_takes_arrays_with_and_without_brackets(reporting: Reporting) -> None:
    await settle_three(reporting)
    for name in ("group_by", "group_by[]"):
        answer = await reporting.http.get("usage/completions", params={"start_time": TODAY, name: ["model", "batch"]})
        assert [one["batch"] for one in answer.json()["data"][0]["results"]] == [False, True]


async def test_usage_of_embeddings_is_theirs_alone(reporting: Reporting) -> None:
    await settle_three(reporting)
    page = await reporting.admin.admin.organization.usage.embeddings(start_time=TODAY, group_by=["model"])
    result = page.data[0].results[0]
    assert isinstance(result, Embeddings)
    assert (result.model, result.input_tokens, result.num_model_requests) == ("text-embedding-3-small", 1000, 1)


async def test_usage_with_a_members_key_is_its_own_whatever_it_asks_for(reporting: Reporting) -> None:
    await settle_three(reporting)
    usage = reporting.member.admin.organization.usage
    own = completions(await usage.completions(start_time=TODAY - DAY, group_by=["api_key_id"]))
    assert [(one.api_key_id, one.input_tokens) for one in own] == [("key_1", 100)]
    assert completions(await usage.completions(start_time=TODAY - DAY, api_key_ids=["key_2"])) == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({}, "start_time"),
        ({"start_time": "soon"}, "start_time"),
        ({"start_time": "-1"}, "start_time"),
        ({"start_time": "9223372036854775808"}, "start_time"),
        ({"start_time": str(NOW), "end_time": str(NOW)}, "end_time"),
        ({"start_time": str(NOW), "bucket_width": "1w"}, "bucket_width"),
        ({"start_time": str(NOW), "limit": "0"}, "limit"),
        ({"start_time": str(NOW), "limit": "32"}, "limit"),
        ({"start_time": str(NOW), "bucket_width": "1h", "limit": "169"}, "limit"),
        ({"start_time": str(NOW), "page": "page_zz"}, "page"),
        ({"start_time": str(NOW), "page": "page_1"}, "page"),
        ({"start_time": str(NOW), "page": f"page_{TODAY + DAY:x}"}, "page"),
        ({"start_time": str(NOW), "colour": "red"}, "colour"),
    ],
)
async def test_usage_of_a_query_that_cannot_be_names_the_parameter(
    reporting: Reporting, query: dict[str, str], param: str
) -> None:
    answer = await reporting.http.get("usage/completions", params=query)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


async def test_usage_grouped_by_what_embeddings_do_not_have_is_refused(reporting: Reporting) -> None:
    with pytest.raises(BadRequestError):
        await reporting.admin.admin.organization.usage.embeddings(
            start_time=NOW,
            group_by=["batch"],  # type: ignore[list-item]  # the mistake under test
        )


async def test_usage_from_the_future_has_no_bucket(reporting: Reporting) -> None:
    page = await reporting.admin.admin.organization.usage.completions(start_time=NOW + 10 * DAY)
    assert (page.data, page.has_more) == ([], False)


async def test_usage_without_a_key_that_opens_anything_is_refused(reporting: Reporting) -> None:
    headers = {"authorization": "Bearer sk-gw-nobody"}
    answer = await reporting.http.get("usage/completions", params={"start_time": NOW}, headers=headers)
    assert answer.status_code == 401
