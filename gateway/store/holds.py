"""Holds: the durable reservation of a call in flight, and the processes that own them."""

from sqlalchemy import Column, PrimaryKeyConstraint, Table, Text

from gateway.store.tables import integer, metadata, text

owner = Table(
    "owner",
    metadata,
    Column("id", Text, primary_key=True),
    integer("beat_at_us"),
)
"""One lease row per process. A lease older than 30 s is dead and its holds are swept by another process."""

hold = Table(
    "hold",
    metadata,
    Column("request_id", Text, primary_key=True),
    text("owner"),
    integer("admitted_at_us"),
    text("api_key_id"),
    text("project_id"),
    text("user_id", null=True),
    text("service_account_id", null=True),
    text("operation"),
    text("model"),
    text("requested_model"),
    text("upstream"),
    integer("input_tokens"),
    integer("input_rate"),
    integer("output_rate"),
    integer("delivered", default=0),
    integer("fee_nano_usd", default=0),
    integer("batch", default=0),
    sqlite_with_rowid=False,
)
"""What a sweep needs to settle the call alone: the counted prompt, rates in pico-USD per token, output delivered, and
what pictures and sound cost beside tokens.
"""

hold_item = Table(
    "hold_item",
    metadata,
    text("request_id"),
    text("limit_id"),
    integer("period_start"),
    integer("amount"),
    PrimaryKeyConstraint("request_id", "limit_id", "period_start"),
    sqlite_with_rowid=False,
)
"""Exactly what was added to each counter's `held`, so that exactly that is given back."""
