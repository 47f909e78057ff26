"""Admin API keys: owner does everything, reader only reads."""

from sqlalchemy import Column, LargeBinary, Table, Text

from gateway.store.tables import integer, metadata, text

admin_api_key = Table(
    "admin_api_key",
    metadata,
    Column("id", Text, primary_key=True),
    text("name"),
    text("role"),
    Column("digest", LargeBinary, nullable=False, unique=True),
    text("redacted"),
    integer("created_at"),
    integer("expires_at", null=True),
)
