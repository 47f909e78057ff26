"""All tables in one metadata: what migrations are checked against, and what an empty database is made from.

An empty database is not migrated: making the tables as they are declared needs no Alembic, whose import and scripts
took a third of a first start. A test holds the two ways to the same schema and the same rows.
"""

from sqlalchemy import Connection, insert, text

from gateway.store import (
    admin_api_keys,
    api_keys,
    audit_log,
    holds,
    jobs,
    limits,
    model_permissions,
    notices,
    projects,
    provider_objects,
    retention,
    revision,
    schema,
    service_accounts,
    spend_alerts,
    tables,
    usage,
    users,
)

TABLES = (
    admin_api_keys.admin_api_key,
    api_keys.api_key,
    api_keys.api_key_secret,
    audit_log.audit_log,
    holds.hold,
    holds.hold_item,
    holds.owner,
    jobs.job,
    limits.counter,
    limits.limit,
    model_permissions.model_permissions,
    notices.notice,
    projects.project,
    provider_objects.provider_object,
    retention.retention,
    revision.revision,
    schema.compatibility,
    service_accounts.service_account,
    spend_alerts.spend_alert,
    usage.usage,
    usage.usage_day,
    usage.usage_hour,
    users.project_user,
    users.user,
)
metadata = tables.metadata


def create(connection: Connection, head: str) -> None:
    """Make in an empty database what the migrations up to `head`, the newest, make there."""
    metadata.create_all(connection, checkfirst=False)
    if connection.dialect.name == "postgresql":
        # Months get partitions of their own at run time; this one takes what has none, so that no settlement fails.
        connection.execute(text("CREATE TABLE usage_default PARTITION OF usage DEFAULT"))
    connection.execute(insert(revision.revision).values(id=1, value=1))
    connection.execute(insert(schema.compatibility).values(id=1, oldest_code=schema.OLDEST_CODE))
    schema.stamp(connection, head)
