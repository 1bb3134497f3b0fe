"""`status`, and `--watch`."""

import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cdc_sync.cli.context import find_config_file, open_state, read_config
from cdc_sync.cli.output import Json, describe_hold, emit
from cdc_sync.clock import utc_now
from cdc_sync.config.model import Config
from cdc_sync.operations.status import describe_late, find_troubles, public_document, read_status
from cdc_sync.setup.host import Host
from cdc_sync.setup.service import installed_unit
from cdc_sync.state.database import Database
from cdc_sync.wording import format_balance, format_count, format_instant, format_seconds

REFRESH_SECONDS = 2.0
WHOLE_SECONDS_UP_TO = 100
_COUNTED = ("synced", "pending", "rejected", "accepted", "waiting", "held")


def status(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until Ctrl-C.")] = False,
    as_json: Json = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing; the exit code says it.")
    ] = False,
) -> None:
    """Show whether all is well, and how far the sync is; exit 1 if something is wrong."""
    config = read_config(context, secrets=False)
    with open_state(context) as state:
        while watch and not quiet:
            print("\033[2J\033[H", end="")
            _show(context, state, config, as_json=as_json)
            time.sleep(REFRESH_SECONDS)
        if not _show(context, state, config, as_json=as_json, quiet=quiet):
            raise typer.Exit(1)


def _show(
    context: typer.Context,
    state: Database,
    config: Config,
    *,
    as_json: bool,
    quiet: bool = False,
) -> bool:
    document = read_status(state, utc_now(), config.customergauge.rate_limit)
    file = find_config_file(context)
    unit = installed_unit(file, Host())
    wrong = [found.message for found in find_troubles(document, config, unit)]
    if quiet:
        return not wrong
    where = f"  config  {file}      state  {state.name}"
    lines = [_verdict(document, wrong), where, *_describe(document)]
    if document["hold"]:
        lines.append(describe_hold(document["hold"], utc_now()))
    emit(public_document(document), "\n".join(lines), as_json=as_json)
    return not wrong


def _verdict(document: dict[str, Any], wrong: list[str]) -> str:
    if wrong:
        return "NOT WELL: " + "\n          ".join(wrong)
    return "WELL." if document["daemon"]["running"] else "WELL; no daemon runs."


def _describe(document: dict[str, Any]) -> Iterator[str]:
    poll, mark, daemon = document["last_poll"], document["watermark"], document["daemon"]
    if poll is not None:
        yield f"  last poll     {_format_age(poll['age_seconds'])} ago{_outcome(poll)}"
    seconds = mark["lag_seconds"]
    lag = f", lag {_format_age(seconds)}" if seconds is not None else ""
    yield f"  watermark     {mark['value'] or 'none yet'} ({mark['basis']}{lag})"
    if mark["basis_reason"]:
        hint = f". {mark['basis_hint']}" if mark["basis_hint"] else ""
        yield f"                no horizon: {mark['basis_reason']}{hint}"
    if mark["held_back_by"]:
        yield f"                held back by {mark['held_back_by']}"
    if late := document["late"]:
        found = describe_late(late["changes"], late["longest_seconds"])
        yield f"  late          {found} (last day)."
        yield f"                Probably {late['cause']}. {late['hint']}"
    yield _balance(document)
    if gone := document["contracts"]["gone"]:
        yield f"  {gone:,} gone from the source"
    api = document["api"]
    if api["state"] == "throttled" and api["paused_until"]:
        until = api["paused_until"].partition(".")[0].removesuffix("Z")
        yield f"  API           asks everybody to wait (429), until {until}Z"
    if api["slowed_to"] is not None:
        yield f"  rate          {api['slowed_to']:g} PUT/s since a 429; it rises again by itself"
    if not daemon["running"]:
        since = f" since {format_instant(daemon['ended'], 'seconds')}" if daemon["ended"] else ""
        yield f"  daemon        none runs{since}"
    if len(document["instances"]) > 1:
        daemons = (f"{one['host']} {one['pid']} ({one['role']})" for one in document["instances"])
        yield f"  daemons       {', '.join(daemons)}"


def _format_age(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < WHOLE_SECONDS_UP_TO else format_seconds(seconds)


def _outcome(poll: dict[str, Any]) -> str:
    if poll["error"]:
        good = _format_age(poll["good_age_seconds"])
        return f": FAILED; the last good one {good} ago"
    return f", {format_count(poll['rows'], 'row')}, {poll['changed']:,} changed"


def _balance(document: dict[str, Any]) -> str:
    counts = document["contracts"]
    unexplained = (document["balance"] or {}).get("unexplained", 0)
    counted = {name: counts[name] for name in _COUNTED}
    return f"  {format_balance(sum(counted.values()) + unexplained, counted, unexplained)}"
