"""`plan`."""

from typing import TYPE_CHECKING, Annotated

import typer

from cdc_sync.cli.context import config_of
from cdc_sync.cli.output import WIDEST, Json, difference, emit, table
from cdc_sync.wording import format_count, sort_fields, value_or_dash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdc_sync.capture.plan import Plan, PlannedChange


def plan(  # one argument an option
    context: typer.Context,
    limit: Annotated[
        int | None, typer.Option(min=0, help="Show at most this many changes.")
    ] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 3 when something would be sent.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Plan a reconcile, not a poll.")] = False,
    as_json: Json = False,
) -> None:
    """Show what `once` would do now, field by field; writes and sends nothing."""
    from cdc_sync.capture.plan import plan as planned
    from cdc_sync.sync import open_for_plan

    with open_for_plan(config_of(context)) as capture:
        result = planned(capture, full=full, limit=limit)
    emit(result.document(), _words(result, limit), as_json=as_json)
    if exit_code and result.sends:
        raise typer.Exit(3)


def _words(plan: "Plan", limit: int | None) -> str:
    d = plan.document()
    gone = f", {d['gone']:,} gone" if d["gone"] else ""
    head = (
        f"{format_count(d['rows'], 'row')}: {d['create']:,} to create, {d['update']:,} to update,"
        f" {d['invalid']:,} invalid{gone}."
        " CustomerGauge cannot delete contracts."
    )
    if plan.held:
        head += f"\nThe guard would hold {plan.held:,} of them until: cdc-sync approve"
    if plan.later:
        wait = format_count(plan.later, "more waits for its", "more wait for their")
        head += f"\n{wait} next try: cdc-sync contracts list --status pending"
    shown = _lines(plan.changes)
    changes = d["create"] + d["update"] + d["invalid"] + d["gone"]
    more = ["  …"] if limit is not None and changes > limit else []
    return "\n".join([head, *shown, *more])


def _lines(changes: "Sequence[PlannedChange]") -> list[str]:
    if not changes:
        return []
    new = [_account(one) for one in changes if one.action == "create"]
    width = min(max(map(len, new), default=0), WIDEST)
    return [
        table([(one.action, one.reference or one.source_id, _told(one, width)) for one in changes])
    ]


def _told(one: "PlannedChange", width: int) -> str:
    if one.problem:
        return one.problem
    if one.action == "gone" and not one.diff:
        return "gone from the source: nothing is sent"
    if one.action == "create":
        new = {field: pair[1] for field, pair in one.diff.items()}
        return f"{_account(one):<{width}}  {new.get('start')} … {new.get('end') or 'open'}"
    if one.action == "update" and one.diff.get("account", ("", ""))[0] is None:
        wanted = (f"{field} {value_or_dash(one.diff[field][1])}" for field in sort_fields(one.diff))
        return f"{', '.join(wanted)}; imported: what CustomerGauge holds is not known"
    diffs = (f"{field} {difference(field, one.diff)}" for field in sort_fields(one.diff))
    return ", ".join(diffs) or "in doubt: sent again"


def _account(one: "PlannedChange") -> str:
    return value_or_dash(one.diff.get("account", (None, None))[1])
