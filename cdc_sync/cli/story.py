"""Contracts in words: a list as a table, one as its story."""

import shlex
from datetime import datetime
from typing import Any

from cdc_sync.cli.chronicle import chronicle
from cdc_sync.cli.words import clock, difference, shown, table
from cdc_sync.wording import in_order, reasons, value_or_dash

_HEAD = ("ID", "REFERENCE", "ACCOUNT", "STATUS", "NEXT TRY", "REASON")


def listed(document: dict[str, Any], now: datetime) -> str:
    """`contracts list` for people."""
    found = document["contracts"]
    if not found:
        return "There are none."
    lines = [table([_HEAD, *(_line(contract, now) for contract in found)])]
    if document["next"] is not None:
        lines.append(f"There are more: add --after={shlex.quote(shown(document['next']))}")
    return "\n".join(lines)


def told(story: dict[str, Any], now: datetime) -> str:
    """`contracts show` for people: where it stands, its fields, why, and how it came to that."""
    account = value_or_dash(story["payload"].get("account"))
    head = f"{value_or_dash(story['reference'])}   {account}   {_standing(story, now)}"
    parts = [shown(head), table([("id", story["source_id"]), *_fields(story)])]
    parts += [f"  {shown(sentence)}" for sentence in _sentences(story, now)]
    return "\n".join([*parts, chronicle(story, now)])


def _line(contract: dict[str, Any], now: datetime) -> tuple[str, ...]:
    return (
        contract["source_id"],
        value_or_dash(contract["reference"]),
        value_or_dash(contract["account"]),
        contract["status"],
        _next_try(contract, now),
        reasons(contract["last_error"]),
    )


def _standing(story: dict[str, Any], now: datetime) -> str:
    since = {"synced": "acknowledged_at", "gone": "gone_at"}.get(story["status"], "changed_at")
    text = f"{story['status']} since {clock(story[since] or story['changed_at'], now)}"
    if story["next_attempt_at"] is None:
        return text
    return f"{text} (attempt {story['attempts'] + 1} {_at(_next_try(story, now))})"


def _next_try(contract: dict[str, Any], now: datetime) -> str:
    due = contract["next_attempt_at"]
    return "now" if due is not None and due <= now else clock(due, now)


def _at(when: str) -> str:
    return when if when == "now" else f"at {when}"


def _fields(story: dict[str, Any]) -> list[tuple[str, str]]:
    """Every field; where CustomerGauge holds another value, that one → ours."""
    acknowledged, diff = story["acknowledged"], story["diff"]
    names = in_order({**story["payload"], **diff})
    return [
        (
            name,
            difference(name, diff)
            if acknowledged and name in diff  # {}: imported, what it holds is not known
            else value_or_dash(story["payload"].get(name)),
        )
        for name in names
    ]


def _sentences(story: dict[str, Any], now: datetime) -> list[str]:
    found = []
    if story["last_error"]:
        found.append(reasons(story["last_error"]))
    if story["acknowledged"] is None:
        found.append("CustomerGauge has not acknowledged it yet.")
    elif not story["acknowledged"]:
        found.append("Its reference was imported: what CustomerGauge holds is not known.")
    if story["in_doubt"] is not None:
        found.append(
            f"In doubt since {clock(story['in_doubt'], now)}: what CustomerGauge holds is not"
            " known, so it is sent again."
        )
    return found
