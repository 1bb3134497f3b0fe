"""The commands about contracts: list, show, resend and accept."""

import shlex
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import typer

from cdc_sync.cli.context import current_user, open_state, read_config_with_source
from cdc_sync.cli.output import (
    All,
    Json,
    Names,
    Yes,
    confirm,
    count_unchanged,
    describe_due,
    emit,
    format_change,
    format_clock,
    format_diff,
    names_or_all,
    printable,
    table,
)
from cdc_sync.clock import utc_now
from cdc_sync.contract import REFUSED, Status
from cdc_sync.operations import actions
from cdc_sync.operations.contracts import explain_unknown, list_contracts, show_contract
from cdc_sync.wording import format_count, format_problems, sort_fields, value_or_dash

app = typer.Typer(
    name="contracts",
    help="Show contracts, send them again, accept rejections.",
    no_args_is_help=True,
)
_HEAD = ("ID", "REFERENCE", "ACCOUNT", "STATUS", "NEXT TRY", "REASON")


@app.command("list")
def list_(
    context: typer.Context,
    status: Annotated[Status | None, typer.Option(help="Only contracts of this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="List at most this many.")] = 100,
    after: Annotated[
        str | None,
        typer.Option(metavar="CURSOR", help="Continue an earlier list, from its `next`."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List contracts, in the order of their ids."""
    with open_state(context) as state:
        document = list_contracts(state, status, after, limit)
    emit(document, _table_of_contracts(document, utc_now()), as_json=as_json)


@app.command()
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="ID", help="A source id or reference.")],
    as_json: Json = False,
) -> None:
    """Show one contract's fields and history, or why it is not known."""
    with open_state(context) as state:
        story = show_contract(state, name)
        if story is not None:
            emit(story, _describe_contract(story, utc_now()), as_json=as_json)
            return
        reason = explain_unknown(state, name, lambda: read_config_with_source(context))
    emit({"id": name, "known": False, "reason": reason}, reason, as_json=as_json, ok=False)


@app.command()
def resend(
    context: typer.Context,
    ids: Names = None,
    everything: All = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Send contracts once more, although nothing differs."""
    names = names_or_all(ids, everything=everything)
    with open_state(context) as state:
        if names is None:
            confirm("Send every synced contract once more?", yes=yes, as_json=as_json)
        count = actions.resend(state, names, utc_now())
    text = describe_due(count, names, "only what is synced is sent again")
    emit({"resent": count}, text, as_json=as_json)


@app.command()
def accept(
    context: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Source ids or references.")],
    reason: Annotated[
        str | None, typer.Option(help="Why they may stay so, for the history.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="End the acceptance.")] = False,
    as_json: Json = False,
) -> None:
    """Accept that contracts are rejected: no trouble until the payload or the reason changes."""
    user, now = current_user(), utc_now()
    with open_state(context) as state:
        if undo:
            count = actions.withdraw(state, ids, who=user, reason=reason, now=now)
        else:
            count = actions.accept(state, ids, who=user, reason=reason or "", now=now)
    key, old, new = (
        ("withdrawn", "accepted", "rejected again")
        if undo
        else (
            "accepted",
            "rejected",
            f"accepted by {user}, until the payload or the reason changes",
        )
    )
    text = f"{format_count(count, 'contract is', 'contracts are')} {new}."
    if others := len(set(ids)) - count:
        text += f" {count_unchanged(others)}: not {old}."
    emit({key: count}, text, as_json=as_json)


def _table_of_contracts(document: dict[str, Any], now: datetime) -> str:
    if not document["contracts"]:
        return "There are none."
    rows = [
        (
            one["source_id"],
            value_or_dash(one["reference"]),
            value_or_dash(one["account"]),
            one["status"],
            _format_next_try(one, now),
            "; ".join(filter(None, [format_problems(one["last_error"]), _format_accepted(one)])),
        )
        for one in document["contracts"]
    ]
    text = table([_HEAD, *rows])
    if document["next"] is None:
        return text
    return f"{text}\nThere are more: add --after={shlex.quote(printable(document['next']))}"


def _format_accepted(contract: dict[str, Any]) -> str:
    accepted = contract["accepted"]
    return f"accepted by {accepted['who']}: {accepted['reason']}" if accepted else ""


def _format_next_try(contract: dict[str, Any], now: datetime) -> str:
    due = contract["next_attempt_at"]
    return "now" if due is not None and due <= now else format_clock(due, now)


def _describe_contract(story: dict[str, Any], now: datetime) -> str:
    """Returns its status and fields, what is wrong with it, and its timeline."""
    account = value_or_dash(story["payload"].get("account"))
    head = f"{value_or_dash(story['reference'])}   {account}   {_describe_status(story, now)}"
    lines = [printable(head), table([("id", story["source_id"]), *_fields(story)])]
    lines += [f"  {printable(sentence)}" for sentence in _sentences(story, now)]
    return "\n".join([*lines, _timeline(story, now)])


def _describe_status(story: dict[str, Any], now: datetime) -> str:
    known = {"synced": story["acknowledged_at"], "gone": story["gone_at"]}
    since = known.get(story["status"]) or (story["accepted"] or {}).get("at", story["changed_at"])
    text = f"{story['status']} since {format_clock(since, now)}"
    if story["next_attempt_at"] is None:
        return text
    when = _format_next_try(story, now)
    return f"{text} (attempt {story['attempts'] + 1} {when if when == 'now' else f'at {when}'})"


def _fields(story: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns every field; where CustomerGauge holds another value, that one → ours."""
    # What CustomerGauge holds of an imported contract, acknowledged as {}, is not known.
    diff = story["diff"] if story["acknowledged"] else {}
    return [
        (
            name,
            format_change(diff[name])
            if name in diff
            else value_or_dash(story["payload"].get(name)),
        )
        for name in sort_fields({**story["payload"], **story["diff"]})
    ]


def _sentences(story: dict[str, Any], now: datetime) -> Iterator[str]:
    if story["last_error"]:
        yield format_problems(story["last_error"])
    if story["accepted"]:
        yield f"It is {_format_accepted(story)} (until its payload or the rejection changes)"
    if story["acknowledged"] is None:
        yield "CustomerGauge has not acknowledged it yet."
    elif not story["acknowledged"]:
        yield "Its reference was imported: what CustomerGauge holds is not known."
    if story["in_doubt"] is not None:
        since = format_clock(story["in_doubt"], now)
        yield f"In doubt since {since}: what CustomerGauge holds is not known, so it is sent again."


class Event(NamedTuple):
    """A line of the timeline."""

    at: datetime
    what: str
    answer: str
    says: str


def _timeline(story: dict[str, Any], now: datetime) -> str:
    """Returns what happened, the oldest first, and what is due at the end."""
    events = sorted(
        [*_source_events(story), *_attempts(story), *_status_events(story)],
        key=lambda event: event.at,
    )
    return table(
        [
            (format_clock(event.at, now), *event[1:])
            for event in [*events, *_next_attempt(story, now)]
        ]
    )


def _source_events(story: dict[str, Any]) -> Iterator[Event]:
    first, changed = story["first_seen_at"], story["changed_at"]
    yield Event(first, "seen", "", "in the source, for the first time")
    diff = format_diff(_last_change(story))
    if changed > first and (diff or story["gone_at"] != changed):
        is_known = story["acknowledged"] and not story["diff"]
        back = "to what CustomerGauge has" if is_known else "in the source"
        yield Event(changed, "changed", "", diff or back)


def _last_change(story: dict[str, Any]) -> dict[str, Any]:
    """Returns what still differs, or else what was sent of the last change."""
    diff: dict[str, Any] = story["diff"]
    if story["acknowledged"] and diff:
        return diff
    sent = (one["changed"] for one in story["history"] if one["at"] >= story["changed_at"])
    return next((changed for changed in sent if changed), {})


def _attempts(story: dict[str, Any]) -> Iterator[Event]:
    before = None
    for one in story["history"]:
        status, error, changed = one["http_status"], one["error"], one["changed"]
        sent = _describe_sent(changed)
        if error is None:
            was_there = not changed or any(old for old, _ in changed.values())
            is_lost = was_there and status == 201
            says = (
                f"acknowledged: {'made anew, for CustomerGauge had lost it' if is_lost else sent}"
            )
        else:  # the same once more is not said again
            says = format_problems(error) + (f" ({sent})" if changed != before else "")
        before = changed
        yield Event(one["at"], "PUT", str(status or "—"), says)


def _describe_sent(changed: dict[str, Any]) -> str:
    if not changed:
        return "as CustomerGauge has it"
    if all(old is None for old, _ in changed.values()):
        return "the whole contract"
    return format_diff(changed)


def _status_events(story: dict[str, Any]) -> Iterator[Event]:
    """Yields what happened without a PUT, or with one that is in the history no more."""
    known = {one["at"] for one in story["history"] if one["error"] is None}
    if story["acknowledged_at"] is not None and story["acknowledged_at"] not in known:
        yield Event(story["acknowledged_at"], "PUT", "", "acknowledged")
    for one in story["acceptances"]:
        what = {"accept": "accepted", "withdraw": "rejected", "move": "moved"}[one["kind"]]
        yield Event(
            one["at"], what, "", ": ".join(filter(None, [f"by {one['who']}", one["reason"]]))
        )
    if story["status"] in REFUSED and story["http_status"] is None:
        yield Event(story["changed_at"], "rejected", "", format_problems(story["last_error"]))
    if story["status"] == "held":
        says = "by the guard: cdc-sync approve, or cdc-sync discard"
        yield Event(story["changed_at"], "held", "", says)
    if story["gone_at"] is not None:
        yield Event(story["gone_at"], "gone", "", "from the source")


def _next_attempt(story: dict[str, Any], now: datetime) -> Iterator[Event]:
    due = story["next_attempt_at"]
    if due is None:
        return
    if story["claimed_by"] is not None:
        yield Event(now, "PUT", "…", "on its way")
        return
    says = f"attempt {story['attempts'] + 1}"
    if story["status"] == "synced":
        says = "once more, for an answer was lost before" if story["in_doubt"] else "once more"
    yield Event(max(due, now), "next", "", says)
