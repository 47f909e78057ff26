"""API keys: what programs call with. A key may have two valid texts while a rotation's grace lasts."""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, LargeBinary, Table, Text

from gateway.store.tables import integer, metadata, text

api_key = Table(
    "api_key",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("project.id"), nullable=False),
    Column("user_id", Text, ForeignKey("user.id"), nullable=True),
    Column("service_account_id", Text, ForeignKey("service_account.id"), nullable=True),
    text("name"),
    text("public_id"),
    text("last_four"),
    text("models", null=True),
    integer("created_at"),
    integer("expires_at", null=True),
    integer("disabled", default=0),
    integer("deleted_at", null=True),
    CheckConstraint("(user_id IS NULL) <> (service_account_id IS NULL)", name="one_holder"),
    Index(None, "project_id"),
    Index(None, "user_id"),
)
"""`models` is a JSON list of wildcard patterns, null for every model."""

api_key_secret = Table(
    "api_key_secret",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("api_key_id", Text, ForeignKey("api_key.id", ondelete="CASCADE"), nullable=False, index=True),
    integer("valid_until", null=True),
)
"""SHA-256 digests of key texts; `valid_until` is the end of a rotation's grace, null for the present text."""
