"""Every URL of administration, in one table."""

from typing import Any

from gateway.admin import (
    admin_api_keys,
    api_keys,
    audit_logs,
    costs,
    limits,
    model_permissions,
    openapi,
    project_users,
    projects,
    rate_limits,
    service_accounts,
    spend_alerts,
    spend_limit,
    usage,
    users,
)
from gateway.admin.boundary import AdminRoute

_DESCRIBED: tuple[AdminRoute[Any, Any], ...] = (
    *projects.ROUTES,
    *users.ROUTES,
    *project_users.ROUTES,
    *service_accounts.ROUTES,
    *api_keys.ROUTES,
    *admin_api_keys.ROUTES,
    *limits.ROUTES,
    *rate_limits.ROUTES,
    *model_permissions.ROUTES,
    *spend_limit.ROUTES,
    *spend_alerts.ROUTES,
    *audit_logs.ROUTES,
    *usage.ROUTES,
    *costs.ROUTES,
)
ROUTES: tuple[AdminRoute[Any, Any], ...] = (*_DESCRIBED, openapi.route(_DESCRIBED))
