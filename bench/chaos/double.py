"""Starts the command with one guarantee taken out: what a crash test must be able to catch."""

import sys
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from cdc_sync.capture import poll
from cdc_sync.cli.app import main
from cdc_sync.contract import Status
from cdc_sync.state import outbox
from cdc_sync.state.tables import contract


def naive_watermark() -> None:
    """The watermark moves to the greatest value that was seen."""

    def greatest_seen(current: Any, page_end: Any, *_given: Any, **_named: Any) -> Any:
        return max((value for value in (current, page_end) if value is not None), default=None)

    _replace(poll, "next_watermark", greatest_seen)


def no_durable_ack() -> None:
    """An acknowledgement is recorded with the claim: before the PUT has left."""
    claim = outbox.claim

    def claim_and_acknowledge(tx: sa.Connection, *given: Any, **named: Any) -> Any:
        claimed = claim(tx, *given, **named)
        tx.execute(
            sa.update(contract)
            .where(contract.c.source_id.in_([one.source_id for one in claimed]))
            .values(
                acknowledged=contract.c.payload,
                status=Status.SYNCED.value,
                next_attempt_at=None,
                in_doubt=None,
                claimed_by=None,
                claimed_until=None,
            )
        )
        return claimed

    _replace(outbox, "claim", claim_and_acknowledge)


def _replace(module: Any, name: str, double: Callable[..., Any]) -> None:
    # A name that is there no more would leave the product whole, and the control without meaning.
    getattr(module, name)
    setattr(module, name, double)


DOUBLES = {"naive-watermark": naive_watermark, "no-durable-ack": no_durable_ack}

if __name__ == "__main__":
    DOUBLES[sys.argv.pop(1)]()
    main()
