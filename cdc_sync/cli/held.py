"""What the guard holds, in words."""

from datetime import datetime
from typing import Any

from cdc_sync.cli.words import clock, difference, table
from cdc_sync.wording import counted, in_order, value_or_dash


def described(hold: dict[str, Any], now: datetime) -> str:
    """How much is held, why, and a few of them."""
    return "\n".join([_why(hold, now), *examples(hold)])


def examples(hold: dict[str, Any]) -> list[str]:
    """A few of what is held, one line each."""
    lines = [table([_example(one) for one in hold["examples"]])] if hold["examples"] else []
    if hold["held"] > len(hold["examples"]):
        lines.append("  and more: cdc-sync contracts list --status held")
    return lines


def _why(hold: dict[str, Any], now: datetime) -> str:
    parts = [f"{hold[name]:,} {name}" for name in ("updated", "new", "gone") if hold[name]]
    when = clock(datetime.fromisoformat(hold["at"]), now)
    return (
        f"{counted(hold['held'], 'contract')} held by the guard. The {hold['kind']} of {when} would"
        f" have changed {hold['changes']:,} at once ({', '.join(parts)}),"
        f" of {hold['known']:,} known."
    )


def _example(one: dict[str, Any]) -> tuple[str, str]:
    if one["gone"]:
        return one["reference"] or one["source_id"], "gone from the source"
    diff = one["diff"]
    if diff.get("account", ("", ""))[0] is None:
        return one["reference"], f"new: {value_or_dash(diff.get('account', ('', ''))[1])}"
    told = (f"{field} {difference(field, diff)}" for field in in_order(diff))
    return one["reference"], ", ".join(told) or "as CustomerGauge has it, but in doubt"
