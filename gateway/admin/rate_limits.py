"""/v1/organization/projects/{project_id}/rate_limits: what a project may do with each model, in OpenAI's shape.

A view of the limits on the project that name this one model; they stand under /v1/organization/limits too.
"""

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.admin.boundary import Access, AdminRequest, AdminRoute, Changed
from gateway.admin.decoding import Nothing
from gateway.admin.lists import BothWays, ListOf, listed
from gateway.admin.projects import PROJECT
from gateway.core.errors import InvalidRequest, NotFound
from gateway.store import projects, rate_limits
from gateway.store.engine import Connection
from gateway.store.pages import Cursor, Page
from gateway.store.rate_limits import RateLimit

RATE_LIMITS = f"{PROJECT}/rate_limits"
RATE_LIMIT = f"{RATE_LIMITS}/{{rate_limit_id}}"
UNLIMITED = 2**53 - 1
"""Stands where no limit is set, in answers and in requests: the largest integer that every JSON reader keeps exact."""
MOST_ID_CHARACTERS = 128
_ODD = re.compile(r"[^A-Za-z0-9-]")

Amount = Annotated[int, Meta(ge=0, le=UNLIMITED)]


class RateLimitObject(msgspec.Struct, frozen=True):
    """OpenAI's `project.rate_limit`. `max_requests_per_1_day` is null where none is set."""

    id: str
    model: str
    max_requests_per_1_minute: int
    max_tokens_per_1_minute: int
    max_requests_per_1_day: int | None
    object: str = "project.rate_limit"


class RateLimitChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can change of a rate limit; what is absent stays. Null and UNLIMITED take a limit away."""

    max_requests_per_1_minute: Amount | UnsetType | None = UNSET
    max_tokens_per_1_minute: Amount | UnsetType | None = UNSET
    max_requests_per_1_day: Amount | UnsetType | None = UNSET


class ListRateLimits(BothWays, frozen=True, forbid_unknown_fields=True):
    """The query of the list, whose pages are longer than others'."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 100


async def list_rate_limits(request: AdminRequest[ListRateLimits, Nothing]) -> ListOf[RateLimitObject]:
    """List a row for every known model, by name."""
    project_id = request.path["project_id"]
    models = await request.services.models()

    def work(connection: Connection) -> list[RateLimit]:
        projects.get(connection, project_id)
        present = rate_limits.of_project(connection, project_id)
        return [present.get(model, RateLimit(model)) for model in sorted(models | present.keys())]

    return listed(_page(await request.read(work), request.query.cursor), _show)


async def update_rate_limit(request: AdminRequest[Nothing, RateLimitChanges]) -> RateLimitObject:
    """Change the limits of one model, for the next call on."""
    project_id, id = request.path["project_id"], request.path["rate_limit_id"]
    models = await request.services.models()
    amounts = {
        field: None if amount == UNLIMITED else amount
        for field, amount in msgspec.structs.asdict(request.body).items()
        if amount is not UNSET
    }

    def work(connection: Connection) -> Changed[RateLimit]:
        projects.active(connection, project_id)
        present = rate_limits.of_project(connection, project_id)
        model = next((model for model in models | present.keys() if rate_limit_id(model) == id), None)
        if model is None:
            raise NotFound(f"There is no rate limit {id} in this project.", code="not_found", param="rate_limit_id")
        before = present.get(model, RateLimit(model))
        after = rate_limits.update(connection, project_id, model, amounts, lambda: request.new_id("limit"), request.now)
        return Changed(after, id, before.amounts, after.amounts, project_id)

    return _show(await request.change("rate_limit.updated", work))


def rate_limit_id(model: str) -> str:
    """Return the id of a model's rate limit, the same in every project: `rl-` and the name, odd characters escaped."""
    name = _ODD.sub(lambda odd: "".join(f"_{byte:02x}" for byte in odd[0].encode()), model)
    id = f"rl-{name}"
    return id if len(id) <= MOST_ID_CHARACTERS else f"rl_{sha256(model.encode()).hexdigest()}"


def _page(rows: Sequence[RateLimit], cursor: Cursor) -> Page[RateLimit]:
    """Return one page of rows that are sorted by model."""
    ids = [rate_limit_id(row.model) for row in rows]
    for param, id in (("after", cursor.after), ("before", cursor.before)):
        if id is not None and id not in ids:
            raise InvalidRequest(
                f"`{param}` is not the id of anything in this list.", param=param, code="invalid_cursor"
            )
    if cursor.before is not None:
        end = ids.index(cursor.before)
        start = max(0, end - cursor.limit)
        return Page(tuple(rows[start:end]), start > 0)
    start = 0 if cursor.after is None else ids.index(cursor.after) + 1
    end = start + cursor.limit
    return Page(tuple(rows[start:end]), end < len(rows))


def _show(row: RateLimit) -> RateLimitObject:
    amounts = row.amounts
    return RateLimitObject(
        rate_limit_id(row.model),
        row.model,
        amounts.get("max_requests_per_1_minute", UNLIMITED),
        amounts.get("max_tokens_per_1_minute", UNLIMITED),
        amounts.get("max_requests_per_1_day"),
    )


ROUTES = (
    AdminRoute("GET", RATE_LIMITS, list_rate_limits, Access.READER, ListRateLimits, Nothing),
    AdminRoute("POST", RATE_LIMIT, update_rate_limit, Access.OWNER, Nothing, RateLimitChanges),
)
