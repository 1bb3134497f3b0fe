"""What the page looks up: contracts by status in order of their id, and by account."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NOT_SYNCED = sa.text("status <> 'synced'")
# A payload is canonical JSON, and `account` its first field: from its 12th character on.
_ACCOUNT = "lower(substr(payload, 12, 60))"


def upgrade() -> None:
    """Replaces the index of statuses, and adds that of accounts."""
    op.drop_index("ix_contract_status", "contract")
    op.create_index(
        "ix_contract_status",
        "contract",
        ["status", "source_id"],
        sqlite_where=_NOT_SYNCED,
        postgresql_where=_NOT_SYNCED,
    )
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    # By bytes, so that what begins with a text is one range.
    account = f'({_ACCOUNT}) COLLATE "C"' if is_postgresql else _ACCOUNT
    op.create_index("ix_contract_account", "contract", [sa.text(account)])
