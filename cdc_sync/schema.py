"""The state database as its keeper sees it: its revision, an upgrade, whom it belongs to."""

from cdc_sync.config.model import CustomerGaugeConfig
from cdc_sync.ownership import identity_of
from cdc_sync.state import control
from cdc_sync.state.beside import open_beside
from cdc_sync.state.database import Database, open_state, state_file
from cdc_sync.state.migrate import current
from cdc_sync.state.tables import REVISION


def revisions(url: str) -> dict[str, str | None]:
    """`db current --json`: the revision of the tables (None: there are none) and the newest."""
    file = state_file(url)
    if file is not None and not file.exists():
        return {"current": None, "newest": REVISION}
    state = open_state(url)
    try:
        return {"current": current(state), "newest": REVISION}
    finally:
        state.close()


def upgrade(url: str) -> dict[str, str | None]:
    """Brings the tables to the newest revision; tells it and the one before (None: no tables).

    Raises StateUnavailable beside a running daemon of an older version, StateRefused for a state
    from a newer one.
    """
    before = revisions(url)["current"]
    with open_beside(url):
        return {"from": before, "current": REVISION}


def owners(state: Database, config: CustomerGaugeConfig) -> tuple[str | None, str]:
    """Whom the state belongs to (None: nobody yet), and whom the configuration names."""
    with state.read() as tx:
        theirs: dict[str, str] | None = control.get(tx, control.IDENTITY)
    return None if theirs is None else _named(theirs), _named(identity_of(config))


def _named(identity: dict[str, str]) -> str:
    return f"{identity['base_url']} (client {identity['client_id']})"
