"""`plan`."""

from typing import TYPE_CHECKING, Annotated

import typer

from cdc_sync.cli.context import config_of
from cdc_sync.cli.output import Json, emit

if TYPE_CHECKING:
    from cdc_sync.capture.plan import Plan, Planned


def plan(  # one argument an option
    context: typer.Context,
    limit: Annotated[int | None, typer.Option(min=0, help="Show at most so many changes.")] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 3 when something would be sent.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Plan a reconcile.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a sync would do now; writes and sends nothing."""
    from cdc_sync.capture.plan import plan as planned
    from cdc_sync.planning import open_for_plan

    with open_for_plan(config_of(context)) as capture:
        result = planned(capture, full=full, limit=limit)
    emit(result.document(), _words(result, limit), as_json=as_json)
    if exit_code and result.sends:
        raise typer.Exit(3)


def _words(plan: "Plan", limit: int | None) -> str:
    d = plan.document()
    gone = f", {d['gone']:,} gone" if d["gone"] else ""
    head = (
        f"{d['rows']:,} rows: {d['create']:,} to create, {d['update']:,} to update,"
        f" {d['invalid']:,} invalid{gone}."
        " CustomerGauge cannot delete contracts."
    )
    shown = [_line(one) for one in plan.changes]
    changes = d["create"] + d["update"] + d["invalid"] + d["gone"]
    more = ["  …"] if limit is not None and changes > limit else []
    return "\n".join([head, *shown, *more])


def _line(one: "Planned") -> str:
    name = one.reference or one.source_id
    if one.problem:
        return f"  {one.action:<8}{name}   {one.problem}"
    if one.action == "create":
        new = {field: pair[1] for field, pair in one.diff.items()}
        dates = f"{new.get('start')} … {new.get('end') or 'open'}"
        return f"  {one.action:<8}{name}   {new.get('account')}   {dates}"
    diffs = ", ".join(f"{f} {old or '–'} → {new or '–'}" for f, (old, new) in one.diff.items())
    return f"  {one.action:<8}{name}   {diffs or 'in doubt: sent again'}"
