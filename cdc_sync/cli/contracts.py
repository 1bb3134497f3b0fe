"""The commands that look at contracts: list, show, and resend."""

import shlex
from datetime import datetime
from typing import Annotated, Any, NamedTuple

import typer

from cdc_sync.cli.context import config_with_source, state_of
from cdc_sync.cli.output import (
    All,
    Json,
    Names,
    Yes,
    are,
    clock,
    confirm,
    difference,
    emit,
    named,
    shown,
    stay,
    table,
)
from cdc_sync.clock import utc_now
from cdc_sync.contract import Status
from cdc_sync.wording import format_problems, sort_fields, value_or_dash

app = typer.Typer(
    name="contracts", help="Show contracts, and send them again.", no_args_is_help=True
)
_HEAD = ("ID", "REFERENCE", "ACCOUNT", "STATUS", "NEXT TRY", "REASON")
_LOST = "made anew, for CustomerGauge had lost it"


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
    from cdc_sync.operations.contracts import list_contracts  # SQLAlchemy costs 200 ms

    with state_of(context) as state:
        document = list_contracts(state, status, after, limit)
    emit(document, listed(document, utc_now()), as_json=as_json)


@app.command()
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="ID", help="A source id or reference.")],
    as_json: Json = False,
) -> None:
    """Show one contract's fields and history, or why it is not known."""
    from cdc_sync.operations.contracts import explain_unknown, show_contract

    with state_of(context) as state:
        story = show_contract(state, name)
        if story is None:
            reason = explain_unknown(state, name, lambda: config_with_source(context))
            emit({"id": name, "known": False, "reason": reason}, reason, as_json=as_json)
            raise typer.Exit(1)
    emit(story, told(story, utc_now()), as_json=as_json)


@app.command()
def resend(
    context: typer.Context,
    ids: Names = None,
    everything: All = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Send contracts once more, although nothing differs."""
    from cdc_sync.operations import actions

    names = named(ids, everything=everything)
    with state_of(context) as state:
        if names is None and not confirm("Send every synced contract once more?", yes=yes):
            raise typer.Exit(1)
        count = actions.resend(state, names, utc_now())
    emit({"resent": count}, _said(count, names), as_json=as_json)


def _said(count: int, names: list[str] | None) -> str:
    others = 0 if names is None else len(set(names)) - count
    rest = f" {stay(others)}: only what is synced is sent again." if others > 0 else ""
    return f"{are(count)} due now.{rest}"


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
        format_problems(contract["last_error"]),
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
    names = sort_fields({**story["payload"], **diff})
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
        found.append(format_problems(story["last_error"]))
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


class Event(NamedTuple):
    """A line of the story."""

    at: datetime
    what: str
    answer: str
    says: str


def chronicle(story: dict[str, Any], now: datetime) -> str:
    """The lines, the oldest first, and what is due at the end."""
    events = sorted([*_seen(story), *_tries(story), *_since(story)], key=lambda event: event.at)
    rows = [(clock(event.at, now), *event[1:]) for event in [*events, *_next(story, now)]]
    return table(rows)


def _seen(story: dict[str, Any]) -> list[Event]:
    first, changed = story["first_seen_at"], story["changed_at"]
    events = [Event(first, "seen", "", "in the source, for the first time")]
    says = _changes(story)
    if changed > first and (says or story["gone_at"] != changed):
        events.append(Event(changed, "changed", "", says or _back(story)))
    return events


def _back(story: dict[str, Any]) -> str:
    known = story["acknowledged"] and not story["diff"]
    return "to what CustomerGauge has" if known else "in the source"


def _changes(story: dict[str, Any]) -> str:
    """What the last change was: what still differs, or else what was sent of it."""
    if story["acknowledged"] and story["diff"]:
        return _differences(story["diff"])
    sent = (try_["changed"] for try_ in story["history"] if try_["at"] >= story["changed_at"])
    return _differences(next((changed for changed in sent if changed), {}))


def _tries(story: dict[str, Any]) -> list[Event]:
    events, before = [], None
    for try_ in story["history"]:
        status, error, changed = try_["http_status"], try_["error"], try_["changed"]
        sent = _sent(changed)
        if error is None:
            had_it = not changed or any(old for old, _ in changed.values())
            says = f"acknowledged: {sent if not had_it or status != 201 else _LOST}"
        else:  # the same once more is not said again
            says = format_problems(error) + (f" ({sent})" if changed != before else "")
        before = changed
        events.append(Event(try_["at"], "PUT", str(status or "—"), says))
    return events


def _since(story: dict[str, Any]) -> list[Event]:
    """What became of it without a PUT, or with one that the history has forgotten."""
    status, events = story["status"], []
    known = {try_["at"] for try_ in story["history"] if try_["error"] is None}
    if story["acknowledged_at"] is not None and story["acknowledged_at"] not in known:
        events.append(Event(story["acknowledged_at"], "PUT", "", "acknowledged"))
    if status == "rejected" and story["http_status"] is None:
        events.append(
            Event(story["changed_at"], "rejected", "", format_problems(story["last_error"]))
        )
    if status == "held":
        says = "by the guard: cdc-sync approve, or cdc-sync discard"
        events.append(Event(story["changed_at"], "held", "", says))
    if story["gone_at"] is not None:
        events.append(Event(story["gone_at"], "gone", "", "from the source"))
    return events


def _next(story: dict[str, Any], now: datetime) -> list[Event]:
    due = story["next_attempt_at"]
    if due is None:
        return []
    if story["claimed_by"] is not None:
        return [Event(now, "PUT", "…", "on its way")]
    if story["status"] == "synced":
        says = "once more, for an answer was lost before" if story["in_doubt"] else "once more"
        return [Event(max(due, now), "next", "", says)]
    return [Event(max(due, now), "next", "", f"attempt {story['attempts'] + 1}")]


def _sent(changed: dict[str, Any]) -> str:
    if all(old is None for old, _ in changed.values()):
        return "the whole contract" if changed else "as CustomerGauge has it"
    return _differences(changed)


def _differences(changed: dict[str, Any]) -> str:
    return ", ".join(f"{name} {difference(name, changed)}" for name in sort_fields(changed))
