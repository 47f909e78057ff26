"""/v1/organization/spend_alerts, and the same of a project: who is told when a month's cost reaches an amount.

Nothing is refused because of an alert; that is what limits are for.
"""

from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gateway.admin.boundary import Access, AdminRequest, AdminRoute, Changed
from gateway.admin.decoding import Nothing
from gateway.admin.fields import PLAIN_TEXT, Recipient
from gateway.admin.limits import event_of
from gateway.admin.lists import BothWays, Deleted, ListOf, listed
from gateway.admin.projects import PROJECT
from gateway.admin.spend_limit import MOST_CENTS, NANO_PER_CENT, whose
from gateway.core.limits import Scope
from gateway.store import projects, spend_alerts
from gateway.store.engine import Connection
from gateway.store.pages import Cursor, Page
from gateway.store.spend_alerts import SpendAlert

SubjectPrefix = Annotated[str, Meta(min_length=1, max_length=100, pattern=PLAIN_TEXT)]


class NotificationChannel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to write to."""

    type: Literal["email"]
    recipients: Annotated[tuple[Recipient, ...], Meta(min_length=1, max_length=50)]
    subject_prefix: SubjectPrefix | None = None


class SpendAlertObject(msgspec.Struct, frozen=True):
    """OpenAI's `project.spend_alert` and `organization.spend_alert`."""

    id: str
    object: str
    threshold_amount: int
    notification_channel: NotificationChannel
    currency: str = "USD"
    interval: str = "month"


class NewSpendAlert(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an alert is made of; a change sends all of it, too."""

    threshold_amount: Annotated[int, Meta(ge=1, le=MOST_CENTS)]
    currency: Literal["USD"]
    interval: Literal["month"]
    notification_channel: NotificationChannel

    def alert(self, id: str, scope: Scope, scope_id: str) -> SpendAlert:
        """Return the alert."""
        channel = self.notification_channel
        recipients = tuple(dict.fromkeys(channel.recipients))
        return SpendAlert(
            id, scope, scope_id, self.threshold_amount * NANO_PER_CENT, recipients, channel.subject_prefix
        )


class ListSpendAlerts(BothWays, frozen=True, forbid_unknown_fields=True):
    """The query of the list, by the time of creation."""

    order: Literal["asc", "desc"] = "asc"

    @property
    def cursor(self) -> Cursor:
        """Where the page begins or ends. Raises InvalidRequest for a page between two ids."""
        return replace(super().cursor, descending=self.order == "desc")


async def create_spend_alert(request: AdminRequest[Nothing, NewSpendAlert]) -> SpendAlertObject:
    """Make an alert. If the month's cost is there already, it is sent soon."""
    scope, scope_id = whose(request)
    new = request.body.alert(request.new_id("spend_alert"), scope, scope_id)

    def work(connection: Connection) -> Changed[SpendAlert]:
        _require_active(connection, scope, scope_id)
        spend_alerts.create(connection, new, request.now)
        return _changed(new, None, new)

    return _show(await request.change(event_of(scope), work))


async def list_spend_alerts(request: AdminRequest[ListSpendAlerts, Nothing]) -> ListOf[SpendAlertObject]:
    """List alerts."""
    scope, scope_id = whose(request)
    cursor = request.query.cursor

    def work(connection: Connection) -> Page[SpendAlert]:
        if scope is Scope.PROJECT:
            projects.get(connection, scope_id)
        return spend_alerts.page(connection, scope, scope_id, cursor)

    return listed(await request.read(work), _show)


async def retrieve_spend_alert(request: AdminRequest[Nothing, Nothing]) -> SpendAlertObject:
    """Show an alert."""
    scope, scope_id = whose(request)
    id = request.path["alert_id"]
    return _show(await request.read(lambda connection: spend_alerts.get(connection, scope, scope_id, id)))


async def update_spend_alert(request: AdminRequest[Nothing, NewSpendAlert]) -> SpendAlertObject:
    """Change an alert. Another amount is told of anew."""
    scope, scope_id = whose(request)
    changed = request.body.alert(request.path["alert_id"], scope, scope_id)

    def work(connection: Connection) -> Changed[SpendAlert]:
        before = spend_alerts.get(connection, scope, scope_id, changed.id)
        _require_active(connection, scope, scope_id)
        spend_alerts.update(connection, changed)
        return _changed(changed, before, changed)

    return _show(await request.change(event_of(scope), work))


async def delete_spend_alert(request: AdminRequest[Nothing, Nothing]) -> Deleted:
    """Remove an alert."""
    scope, scope_id = whose(request)
    id = request.path["alert_id"]

    def work(connection: Connection) -> Changed[SpendAlert]:
        before = spend_alerts.get(connection, scope, scope_id, id)
        _require_active(connection, scope, scope_id)
        spend_alerts.delete(connection, id)
        return _changed(before, before, None)

    await request.change(event_of(scope), work)
    return Deleted(f"{scope}.spend_alert.deleted", id)


def _require_active(connection: Connection, scope: Scope, scope_id: str) -> None:
    if scope is Scope.PROJECT:
        projects.active(connection, scope_id)


def _changed(value: SpendAlert, before: SpendAlert | None, after: SpendAlert | None) -> Changed[SpendAlert]:
    detail = {"spend_alert": before} if before else None, {"spend_alert": after} if after else None
    return Changed(value, value.scope_id, *detail, value.scope_id if value.scope is Scope.PROJECT else None)


def _show(alert: SpendAlert) -> SpendAlertObject:
    channel = NotificationChannel("email", alert.recipients, alert.subject_prefix)
    cents = alert.threshold_nano_usd // NANO_PER_CENT
    return SpendAlertObject(alert.id, f"{alert.scope}.spend_alert", cents, channel)


ROUTES: tuple[AdminRoute[Any, Any], ...] = tuple(
    route
    for path in ("/v1/organization/spend_alerts", f"{PROJECT}/spend_alerts")
    for route in (
        AdminRoute("POST", path, create_spend_alert, Access.OWNER, Nothing, NewSpendAlert),
        AdminRoute("GET", path, list_spend_alerts, Access.READER, ListSpendAlerts, Nothing),
        AdminRoute("GET", f"{path}/{{alert_id}}", retrieve_spend_alert, Access.READER, Nothing, Nothing),
        AdminRoute("POST", f"{path}/{{alert_id}}", update_spend_alert, Access.OWNER, Nothing, NewSpendAlert),
        AdminRoute("DELETE", f"{path}/{{alert_id}}", delete_spend_alert, Access.OWNER, Nothing, Nothing),
    )
)
