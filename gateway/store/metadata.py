"""All tables in one metadata, for migrations and their check."""

from gateway.store import (
    admin_api_keys,
    api_keys,
    audit_log,
    holds,
    limits,
    projects,
    provider_objects,
    revision,
    service_accounts,
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
    limits.counter,
    limits.limit,
    projects.project,
    provider_objects.provider_object,
    revision.revision,
    service_accounts.service_account,
    usage.usage,
    usage.usage_day,
    usage.usage_hour,
    users.project_user,
    users.user,
)
metadata = tables.metadata
