"""The tables of the state database, as the newest migration leaves them."""

import sqlalchemy as sa
from sqlalchemy import Column, Index, Integer, MetaData, Table, Text

from cdc_sync.state.columns import Instant

REVISION = "0002"  #: the newest migration; compared before Alembic is imported at all

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

contract = Table(
    "contract",
    metadata,
    Column("source_id", Text, primary_key=True),
    Column("reference", Text, unique=True),
    Column("payload", Text, nullable=False),
    Column("acknowledged", Text),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Instant),
    Column("http_status", Integer),
    Column("last_error", Text),
    Column("held_run", Integer),
    Column("in_doubt", Instant),
    Column("claimed_by", Text),
    Column("claimed_until", Instant),
    Column("first_seen_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("acknowledged_at", Instant),
    Column("gone_at", Instant),
)

# Partial: the outbox stays as small as what waits, however many contracts there are.
_WAITS = sa.text("next_attempt_at IS NOT NULL AND claimed_by IS NULL")
Index("ix_contract_due", contract.c.next_attempt_at, sqlite_where=_WAITS, postgresql_where=_WAITS)
_NOT_SYNCED = sa.text("status <> 'synced'")
Index(
    "ix_contract_status",
    contract.c.status,
    contract.c.source_id,
    sqlite_where=_NOT_SYNCED,
    postgresql_where=_NOT_SYNCED,
)
_CLAIMED = sa.text("claimed_by IS NOT NULL")
Index(
    "ix_contract_claimed", contract.c.claimed_by, sqlite_where=_CLAIMED, postgresql_where=_CLAIMED
)

watermark = Table(
    "watermark",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("value", Text),
    Column("type", Text),
    Column("version", Integer, nullable=False),
    Column("moved_at", Instant),
)

watermark_move = Table(
    "watermark_move",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("who", Text, nullable=False),
    Column("from", Text),
    Column("to", Text),
    Column("kind", Text, nullable=False),
    Column("reason", Text),
)

run = Table(
    "run",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("started", Instant, nullable=False, index=True),
    Column("finished", Instant),
    Column("rows", Integer, nullable=False),
    Column("changed", Integer, nullable=False),
    Column("created", Integer, nullable=False),
    Column("updated", Integer, nullable=False),
    Column("rejected", Integer, nullable=False),
    Column("error", Text),
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Instant, nullable=False, index=True),
    Column("source_id", Text, nullable=False, index=True),
    Column("reference", Text),
    Column("http_status", Integer),
    Column("changed", Text),
    Column("error", Text),
)

control = Table(
    "control",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
