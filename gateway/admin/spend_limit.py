"""/v1/organization/spend_limit, and the same of a project: the most that a month may cost, in whole US cents.

A view of the monthly cost limit of the organization or project; it stands under /v1/organization/limits too.
"""

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from gateway.admin.boundary import Access, AdminRequest, AdminRoute, Changed
from gateway.admin.decoding import Nothing
from gateway.admin.limits import event_of
from gateway.admin.projects import PROJECT
from gateway.core.limits import Limit, Scope
from gateway.core.money import MAX_NANO_USD, NANO_PER_USD
from gateway.store import limit_opening, projects, spend_limit
from gateway.store.engine import Connection
from gateway.store.limits import ORGANIZATION_ID
from gateway.store.standings import LimitStanding

T = TypeVar("T")

NANO_PER_CENT = NANO_PER_USD // 100
MOST_CENTS = MAX_NANO_USD // NANO_PER_CENT


class Enforcement(msgspec.Struct, frozen=True):
    """Whether the month's money is spent, so that calls are refused."""

    status: Literal["inactive", "enforcing"]


class SpendLimitObject(msgspec.Struct, frozen=True):
    """OpenAI's `project.spend_limit` and `organization.spend_limit`. Cents are rounded up."""

    object: str
    threshold_amount: int
    enforcement: Enforcement
    currency: str = "USD"
    interval: str = "month"


class NewSpendLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a spend limit is made of."""

    threshold_amount: Annotated[int, Meta(ge=0, le=MOST_CENTS)]
    currency: Literal["USD"]
    interval: Literal["month"]


class DeletedSpendLimit(msgspec.Struct, frozen=True):
    """What is answered when a spend limit was deleted: it has no id."""

    object: str
    deleted: bool = True


async def retrieve_spend_limit(request: AdminRequest[Nothing, Nothing]) -> SpendLimitObject:
    """Show the spend limit."""
    scope, scope_id = whose(request)

    def work(connection: Connection) -> LimitStanding:
        if scope is Scope.PROJECT:
            projects.get(connection, scope_id)
        return spend_limit.get(connection, scope, scope_id, request.now)

    return _show(await request.read(work))


async def update_spend_limit(request: AdminRequest[Nothing, NewSpendLimit]) -> SpendLimitObject:
    """Set the spend limit, for the next call on; it counts what the month has used before."""
    scope, scope_id = whose(request)
    wanted = spend_limit.shape(scope, scope_id, request.new_id("limit"), request.body.threshold_amount * NANO_PER_CENT)

    def work(connection: Connection) -> Changed[LimitStanding]:
        if scope is Scope.PROJECT:
            projects.active(connection, scope_id)
        before = spend_limit.find(connection, scope, scope_id, request.now)
        limit_opening.put(connection, wanted, request.now)
        after = spend_limit.get(connection, scope, scope_id, request.now)
        return _changed(after, scope, scope_id, before.limit if before else None, after.limit)

    return _show(await request.change(event_of(scope), work))


async def delete_spend_limit(request: AdminRequest[Nothing, Nothing]) -> DeletedSpendLimit:
    """Take the spend limit away."""
    scope, scope_id = whose(request)

    def work(connection: Connection) -> Changed[None]:
        if scope is Scope.PROJECT:
            projects.active(connection, scope_id)
        before = spend_limit.get(connection, scope, scope_id, request.now)
        limit_opening.remove(connection, before.limit)
        return _changed(None, scope, scope_id, before.limit, None)

    await request.change(event_of(scope), work)
    return DeletedSpendLimit(f"{scope}.spend_limit.deleted")


def whose(request: AdminRequest[Any, Any]) -> tuple[Scope, str]:
    """Return whose spending a URL is about: that of the project in it, or the organization's."""
    project_id = request.path.get("project_id")
    return (Scope.ORGANIZATION, ORGANIZATION_ID) if project_id is None else (Scope.PROJECT, project_id)


def _changed(value: T, scope: Scope, scope_id: str, before: Limit | None, after: Limit | None) -> Changed[T]:
    detail = {"spend_limit": before} if before else None, {"spend_limit": after} if after else None
    return Changed(value, scope_id, *detail, scope_id if scope is Scope.PROJECT else None)


def _show(standing: LimitStanding) -> SpendLimitObject:
    amount = standing.limit.amount
    enforcing = standing.used >= amount
    return SpendLimitObject(
        f"{standing.limit.scope}.spend_limit",
        -(-amount // NANO_PER_CENT),
        Enforcement("enforcing" if enforcing else "inactive"),
    )


ROUTES = tuple(
    route
    for path in ("/v1/organization/spend_limit", f"{PROJECT}/spend_limit")
    for route in (
        AdminRoute("GET", path, retrieve_spend_limit, Access.READER, Nothing, Nothing),
        AdminRoute("POST", path, update_spend_limit, Access.OWNER, Nothing, NewSpendLimit),
        AdminRoute("DELETE", path, delete_spend_limit, Access.OWNER, Nothing, Nothing),
    )
)
