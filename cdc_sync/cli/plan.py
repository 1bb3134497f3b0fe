"""`check` and `plan`: what a run needs, and what it would do."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_sync.check.findings import Finding
from cdc_sync.cli.context import command_for, configure_quiet_log, find_config_file, read_config
from cdc_sync.cli.output import WIDEST, Json, emit, format_diff, table
from cdc_sync.config.model import Config
from cdc_sync.wording import format_count, sort_fields, value_or_dash

if TYPE_CHECKING:
    from cdc_sync.capture.plan import Plan, PlannedChange


def check(context: typer.Context, as_json: Json = False) -> None:
    """Check everything that a run needs, and say how to correct it; sends nothing."""
    run_check(read_config(context), find_config_file(context), as_json=as_json)


def run_check(config: Config, path: Path, *, as_json: bool) -> None:
    """Prints what was found; ends with exit code 1 where something is wrong."""
    from cdc_sync.check.check import check as find

    configure_quiet_log(config)
    findings = find(config, path)
    ok = all(finding.ok for finding in findings)
    documents = [{"name": f.name, "ok": f.ok, "says": f.message, "mend": f.hint} for f in findings]
    text = "\n".join([*map(_describe_finding, findings), _conclusion(findings, path)])
    emit({"ok": ok, "findings": documents}, text, as_json=as_json, ok=ok)


def _describe_finding(finding: Finding) -> str:
    mark = "WRONG" if not finding.ok else "note" if finding.hint else "ok"
    hint = f"\n                   {finding.hint}" if finding.hint else ""
    return f"  {mark:<6}{finding.name:<11}{finding.message}{hint}"


def _conclusion(findings: list[Finding], path: Path) -> str:
    if wrong := sum(not finding.ok for finding in findings):
        return f"Not ready: {format_count(wrong, 'thing is', 'things are')} wrong."
    notes = sum(finding.hint is not None for finding in findings)
    also = f", {format_count(notes, 'note')}" if notes else ""
    return f"Ready{also}. Next: {command_for(path)} plan"


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
    from cdc_sync.capture.plan import plan as make_plan
    from cdc_sync.operations.runs import describe_sending
    from cdc_sync.sync import open_for_plan

    config = read_config(context)
    with open_for_plan(config) as capture:
        result = make_plan(capture, full=full, limit=limit)
    sending = describe_sending(result.sends, config.customergauge.rate_limit)
    emit(result.document(), _describe_plan(result, limit, sending, full=full), as_json=as_json)
    if exit_code and result.sends:
        raise typer.Exit(3)


def _describe_plan(plan: "Plan", limit: int | None, sending: str | None, *, full: bool) -> str:
    d = plan.document()
    gone = f", {d['gone']:,} gone" if d["gone"] else ""
    head = (
        f"{format_count(d['rows'], 'row')}: {d['create']:,} to create, {d['update']:,} to update,"
        f" {d['invalid']:,} invalid{gone}. CustomerGauge cannot delete contracts."
    )
    lines = [head, *([f"{sending}."] if sending else [])]
    if plan.held:
        lines.append(f"The guard would hold {plan.held:,} of them until: cdc-sync approve")
    if full and plan.rejected:
        stay = format_count(plan.rejected, "row is", "rows are")
        lines.append(f"{stay} rejected as before: cdc-sync contracts list --status rejected")
    if plan.later:
        wait = format_count(plan.later, "more waits for its", "more wait for their")
        lines.append(f"{wait} next try: cdc-sync contracts list --status pending")
    if plan.changes:
        lines.append(_table_of_changes(plan.changes))
    if limit is not None and d["create"] + d["update"] + d["invalid"] + d["gone"] > limit:
        lines.append("  …")
    return "\n".join(lines)


def _table_of_changes(changes: Sequence["PlannedChange"]) -> str:
    new = [_account(one) for one in changes if one.action == "create"]
    width = min(max(map(len, new), default=0), WIDEST)
    return table(
        [(one.action, one.reference or one.source_id, _describe(one, width)) for one in changes]
    )


def _describe(one: "PlannedChange", width: int) -> str:
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
    return format_diff(one.diff) or "in doubt: sent again"


def _account(one: "PlannedChange") -> str:
    return value_or_dash(one.diff.get("account", (None, None))[1])
