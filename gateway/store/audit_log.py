"""The audit log: every administrative change, append-only."""

from sqlalchemy import Column, Index, Table, Text

from gateway.store.tables import integer, metadata, text

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", Text, primary_key=True),
    integer("effective_at"),
    text("type"),
    text("project_id", null=True),
    text("actor"),
    text("address", null=True),
    text("request_id", null=True),
    text("detail"),
    Index(None, "effective_at"),
)
"""`detail` is JSON: the object's id and its values before and after, never a secret."""
