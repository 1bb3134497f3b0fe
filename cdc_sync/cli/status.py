"""`status`, and `--watch`."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdc_sync.cli.context import config_of, config_path, state_of
from cdc_sync.cli.operate import described
from cdc_sync.cli.output import Json, emit
from cdc_sync.wording import format_count

if TYPE_CHECKING:
    from cdc_sync.config.model import Config
    from cdc_sync.state.database import Database

REFRESH_SECONDS = 2.0


def status(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Show whether all is well, and how far the sync is; exit 1 if something is wrong."""
    config = config_of(context, secrets=False)
    with state_of(context) as state:
        while watch:
            print("\033[2J\033[H", end="")
            _show(context, state, config, as_json=as_json)
            time.sleep(REFRESH_SECONDS)
        if not _show(context, state, config, as_json=as_json):
            raise typer.Exit(1)


def _show(context: typer.Context, state: "Database", config: "Config", *, as_json: bool) -> bool:
    from cdc_sync.clock import utc_now
    from cdc_sync.operations.status import find_troubles, public_document, read_status

    document = read_status(state, utc_now())
    wrong = [found.message for found in find_troubles(document, config)]
    where = f"  config  {config_path(context)}      state  {state.name}"
    emit(
        public_document(document),
        "\n".join([_verdict(document, wrong), where, *_lines(document), *_held(document)]),
        as_json=as_json,
    )
    return not wrong


def _verdict(document: dict[str, Any], wrong: list[str]) -> str:
    if wrong:
        return "NOT WELL: " + "\n          ".join(wrong)
    return "WELL." if document["daemon"]["running"] else "WELL; no daemon runs."


def _held(document: dict[str, Any]) -> list[str]:
    from cdc_sync.clock import utc_now

    hold = document["hold"]
    return [described(hold, utc_now())] if hold else []


def _lines(document: dict[str, Any]) -> list[str]:
    poll, mark = document["last_poll"], document["watermark"]
    lines = []
    if poll is not None:
        lines.append(
            f"  last poll     {poll['age_seconds']:.0f} s ago,"
            f" {format_count(poll['rows'], 'row')}, {poll['changed']:,} changed"
        )
    lag = f", lag {mark['lag_seconds']:.0f} s" if mark["lag_seconds"] is not None else ""
    lines.append(f"  watermark     {mark['value'] or 'none yet'} ({mark['basis']}{lag})")
    if mark["held_back_by"]:
        lines.append(f"                held back by {mark['held_back_by']}")
    counts = document["contracts"]
    names = ("synced", "pending", "rejected", "waiting", "held")
    total = sum(counts[name] for name in names)
    unexplained = (document["balance"] or {}).get("unexplained", 0)
    parts = " + ".join(f"{counts[name]:,} {name}" for name in names)
    rows = format_count(total + unexplained, "row")
    lines.append(f"  {rows} = {parts}; unexplained {unexplained:,}")
    if counts["gone"]:
        lines.append(f"  {counts['gone']:,} gone from the source")
    api = document["api"]
    if api["state"] == "throttled" and api["paused_until"]:
        until = api["paused_until"].partition(".")[0].removesuffix("Z")
        lines.append(f"  API           asks everybody to wait (429), until {until}Z")
    if len(document["instances"]) > 1:
        told = (f"{one['host']} {one['pid']} ({one['role']})" for one in document["instances"])
        lines.append(f"  daemons       {', '.join(told)}")
    return lines
