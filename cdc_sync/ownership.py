"""Whom a state belongs to: what one CustomerGauge acknowledged says nothing about another."""

from cdc_sync.config.model import CustomerGaugeConfig
from cdc_sync.errors import StateRefused
from cdc_sync.state import contracts, control
from cdc_sync.state.database import Database


def identity_of(config: CustomerGaugeConfig) -> dict[str, str]:
    """The platform and client that a configuration names."""
    return {"base_url": config.imports_url, "client_id": config.client_id}


def expect_own(state: Database, config: CustomerGaugeConfig, *, adopting: bool = True) -> None:
    """Raises StateRefused for a state of another platform or client; may take a new one.

    A state is new until something may have been taken there: a mistyped client id binds nothing.
    """
    ours = identity_of(config)
    with state.read() as tx:
        theirs = control.get(tx, control.IDENTITY)
        is_new = theirs is None or (theirs != ours and not contracts.any_sent(tx))
    if is_new:
        if adopting:
            adopt(state, config)
    elif theirs != ours:
        raise StateRefused(
            f"The state {state.name} belongs to {_named(theirs)}, and the configuration names"
            f" {_named(ours)}; nothing was sent.",
            mend="Give this one a state of its own (`state.url`),"
            " or, where both are the same platform, run: cdc-sync db adopt",
        )


def adopt(state: Database, config: CustomerGaugeConfig) -> None:
    """From now on the state belongs to the configuration's platform and client."""
    with state.begin() as tx:
        control.put(tx, control.IDENTITY, identity_of(config))


def _named(identity: dict[str, str]) -> str:
    return f"{identity['base_url']} (client {identity['client_id']})"
