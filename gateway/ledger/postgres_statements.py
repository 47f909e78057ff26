"""What the ledger says to PostgreSQL: its statements, put together once."""

# ruff: noqa: S608 - statements are put together from constant names of columns, values are bound

from collections.abc import Sequence

from gateway.ledger.rows import (
    FINAL_COLUMNS,
    HOLD_COLUMNS,
    ITEM_COLUMNS,
    LIMIT_COLUMNS,
    ROLLUP_KEY_COLUMNS,
    ROLLUP_OWNER_COLUMNS,
    ROLLUP_SUM_COLUMNS,
    USAGE_COLUMNS,
)
from gateway.ledger.sweep import SWEPT_COLUMNS

MINUTE_US = 60_000_000
MOST_AHEAD_US = 1_000_000
"""A guess at the database's clock that is farther off than this is none."""

NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
BEGIN = "BEGIN; LOCK TABLE hold IN ROW EXCLUSIVE MODE"
# A minute opens with what the last one used beyond its amount, for each minute that passed; all others open at 0.
OPEN_COUNTERS = """
    INSERT INTO counter (limit_id, period_start, used, held)
    SELECT l.id, k.start, CASE WHEN l.interval = 'minute' THEN coalesce((
        SELECT greatest(0, c.used - l.amount * ((k.start - c.period_start) / 60)) FROM counter c
        WHERE c.limit_id = l.id AND c.period_start < k.start ORDER BY c.period_start DESC LIMIT 1), 0) ELSE 0 END, 0
    FROM unnest($1::text[], $2::bigint[]) AS k (id, start) JOIN "limit" l ON l.id = k.id
    ORDER BY 1, 2 ON CONFLICT DO NOTHING"""
LOCK_AND_RELEASE = f"""
    WITH locked AS (
        SELECT c.limit_id, c.period_start, c.used, c.held FROM counter c
        JOIN unnest($1::text[], $2::bigint[]) AS k (id, start) ON c.limit_id = k.id AND c.period_start = k.start
        ORDER BY 1, 2 FOR UPDATE OF c),
    gone AS (DELETE FROM hold WHERE request_id = ANY ($3::text[]) RETURNING request_id),
    items AS (
        DELETE FROM hold_item WHERE request_id = ANY ($3::text[])
        RETURNING request_id, limit_id, period_start, amount)
    SELECT 'counter' AS what, limit_id AS name, NULL::text AS other, period_start AS a, used AS b, held AS c FROM locked
    UNION ALL SELECT 'hold', request_id, NULL, 0, 0, 0 FROM gone
    UNION ALL SELECT 'item', request_id, limit_id, period_start, amount, 0 FROM items
    UNION ALL SELECT 'state', '', NULL, (SELECT value FROM revision), {NOW}, 0"""
READ_KINDS = 'SELECT id, metric, interval FROM "limit" WHERE id = ANY ($1::text[])'
READ_FINALS = f"""
    SELECT {", ".join(FINAL_COLUMNS)} FROM usage
    WHERE (admitted_at_us, request_id) IN (SELECT * FROM unnest($1::bigint[], $2::text[])) AND entry = 'final'"""
READ_LIMITS = f"""
    SELECT {", ".join(LIMIT_COLUMNS)} FROM "limit" WHERE scope = 'organization' OR scope_id = ANY ($1::text[])"""


def _insert(table: str, columns: Sequence[str], parameter: int) -> str:
    names = ", ".join(columns)
    return f"INSERT INTO {table} ({names}) SELECT {names} FROM json_populate_recordset(NULL::{table}, ${parameter})"


ROLLUP_COLUMNS = (*ROLLUP_KEY_COLUMNS, *ROLLUP_OWNER_COLUMNS, *ROLLUP_SUM_COLUMNS)


def _add_rollup(table: str, parameter: int, only_if: str = "") -> str:
    inserted = _insert(table, ROLLUP_COLUMNS, parameter) + only_if
    sums = ", ".join(f"{column} = {table}.{column} + excluded.{column}" for column in ROLLUP_SUM_COLUMNS)
    return f"{inserted} ON CONFLICT ({', '.join(ROLLUP_KEY_COLUMNS)}) DO UPDATE SET {sums}"


COUNTER_COLUMNS = ("limit_id", "period_start", "used", "held")
RESERVE_PARTS = f"""
    changed AS (
        INSERT INTO counter ({", ".join(COUNTER_COLUMNS)})
        SELECT d.limit_id, d.period_start, d.used, d.held FROM json_populate_recordset(NULL::counter, $1) d
        JOIN "limit" ON id = d.limit_id ORDER BY 1, 2
        ON CONFLICT (limit_id, period_start)
        DO UPDATE SET used = counter.used + excluded.used, held = counter.held + excluded.held),
    holds AS ({_insert("hold", HOLD_COLUMNS, 2)}),
    items AS ({_insert("hold_item", ITEM_COLUMNS, 3)})"""
WRITE_RESERVED = f"WITH {RESERVE_PARTS} SELECT 0"
WRITE_ALL = f"""
    WITH {RESERVE_PARTS},
    entries AS ({_insert("usage", USAGE_COLUMNS, 4)} ON CONFLICT DO NOTHING RETURNING 1),
    hours AS ({_add_rollup("usage_hour", 5)}),
    days AS ({_add_rollup("usage_day", 6)})
    SELECT count(*) FROM entries"""
# Planning takes the table lock on `hold`, the first of the order, before the statement sees any row.
# What another transaction changed while this one waited for a counter is compared as it is then, not as it was, and the
# clock is read after the wait: a minute that turned meanwhile has opened with what its last one used by then.
_EXPECTED = f"""
    WITH k AS MATERIALIZED (
        SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
        AS k (limit_id, period_start, used, held, more_used, more_held)),
    locked AS MATERIALIZED (
        SELECT c.limit_id, c.period_start, c.used = k.used AND c.held = k.held AS is_same
        FROM counter c JOIN k ON c.limit_id = k.limit_id AND c.period_start = k.period_start
        ORDER BY 1, 2 FOR UPDATE OF c),
    counters AS MATERIALIZED (SELECT count(*) FILTER (WHERE is_same) = cardinality($1::text[]) AS fit FROM locked),
    ours AS MATERIALIZED (
        SELECT h.request_id FROM hold h, counters WHERE counters.fit AND h.request_id = ANY ($7::text[])
        ORDER BY 1 FOR UPDATE OF h),
    settled AS MATERIALIZED (SELECT count(*) = cardinality($7::text[]) AS fit FROM ours),
    clock AS MATERIALIZED (SELECT {NOW} AS now_us FROM counters, settled),
    sure AS MATERIALIZED (
        SELECT 1 FROM counters, settled, clock
        WHERE counters.fit AND settled.fit AND (SELECT value FROM revision) = $8::bigint
        AND abs(now_us - $9::bigint) < {MOST_AHEAD_US} AND now_us / {MINUTE_US} = $9::bigint / {MINUTE_US}
        AND NOT EXISTS (
            SELECT 1 FROM (SELECT * FROM hold_item WHERE request_id = ANY ($7::text[])) found
            FULL JOIN json_populate_recordset(NULL::hold_item, $10) expected
            USING (request_id, limit_id, period_start, amount)
            WHERE found IS NULL OR expected IS NULL)),
    gone AS (DELETE FROM hold USING sure WHERE request_id = ANY ($7::text[])),
    gone_items AS (DELETE FROM hold_item USING sure WHERE request_id = ANY ($7::text[])),
    changed AS (
        UPDATE counter c SET used = c.used + k.more_used, held = c.held + k.more_held FROM k, sure
        WHERE c.limit_id = k.limit_id AND c.period_start = k.period_start AND (k.more_used <> 0 OR k.more_held <> 0)),
    holds AS ({_insert("hold", HOLD_COLUMNS, 11)}, sure),
    items AS ({_insert("hold_item", ITEM_COLUMNS, 12)}, sure)"""
_ANSWER = " SELECT EXISTS (SELECT 1 FROM sure), now_us FROM clock"
EXPECT_RESERVED = _EXPECTED + _ANSWER
EXPECT_ALL = f"""{_EXPECTED},
    entries AS ({_insert("usage", USAGE_COLUMNS, 13)}, sure),
    hours AS ({_add_rollup("usage_hour", 14, ", sure")}),
    days AS ({_add_rollup("usage_day", 15, ", sure")}) {_ANSWER}"""
BEAT = f"""
    INSERT INTO owner (id, beat_at_us) VALUES ($1, {NOW})
    ON CONFLICT (id) DO UPDATE SET beat_at_us = excluded.beat_at_us"""
PROGRESS = """
    UPDATE hold SET input_tokens = d.input, delivered = d.output FROM (
        SELECT h.request_id, k.input, k.output FROM hold h
        JOIN unnest($1::text[], $2::bigint[], $3::bigint[]) AS k (id, input, output) ON h.request_id = k.id
        ORDER BY h.request_id FOR UPDATE OF h SKIP LOCKED) d
    WHERE hold.request_id = d.request_id"""
DISOWN = "UPDATE hold SET owner = '' WHERE request_id = $1"
ABANDONED = f"""
    SELECT {", ".join(SWEPT_COLUMNS)} FROM hold
    WHERE owner <> $1 AND owner NOT IN (SELECT id FROM owner WHERE beat_at_us >= {NOW} - $2::bigint)
    AND NOT EXISTS (SELECT 1 FROM job WHERE job.request_id = hold.request_id)
    ORDER BY request_id LIMIT $3"""
ITEMS_OF = """
    SELECT i.request_id, i.limit_id, l.metric, l.interval, i.period_start, i.amount
    FROM hold_item i JOIN "limit" l ON l.id = i.limit_id WHERE i.request_id = ANY ($1::text[])"""
FORGET_OWNERS = f"""
    DELETE FROM owner WHERE id <> $1 AND beat_at_us < {NOW} - $2::bigint AND id NOT IN (SELECT owner FROM hold)"""
LEAVE = "DELETE FROM owner WHERE id = $1 AND id NOT IN (SELECT owner FROM hold)"
# The newest row stays: the next minute opens from it.
FORGET_MINUTES = """
    DELETE FROM counter WHERE held = 0 AND period_start < extract(epoch FROM clock_timestamp()) - 3600
    AND limit_id IN (SELECT id FROM "limit" WHERE interval = 'minute')
    AND period_start < (SELECT max(period_start) FROM counter newer WHERE newer.limit_id = counter.limit_id)"""
