"""Every URL of administration, in one table."""

from typing import Any

from gateway.admin import (
    admin_api_keys,
    api_keys,
    costs,
    limits,
    project_users,
    projects,
    service_accounts,
    usage,
    users,
)
from gateway.admin.boundary import AdminRoute

ROUTES: tuple[AdminRoute[Any, Any], ...] = (
    *projects.ROUTES,
    *users.ROUTES,
    *project_users.ROUTES,
    *service_accounts.ROUTES,
    *api_keys.ROUTES,
    *admin_api_keys.ROUTES,
    *limits.ROUTES,
    *usage.ROUTES,
    *costs.ROUTES,
)
