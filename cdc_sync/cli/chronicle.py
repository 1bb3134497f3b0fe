"""One contract's story in the order of time: seen, changed, tries and answers, what is next."""

from datetime import datetime
from typing import Any, NamedTuple

from cdc_sync.cli.words import clock, difference, table
from cdc_sync.wording import in_order, reasons


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
            says = reasons(error) + (f" ({sent})" if changed != before else "")
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
        events.append(Event(story["changed_at"], "rejected", "", reasons(story["last_error"])))
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


_LOST = "made anew, for CustomerGauge had lost it"


def _sent(changed: dict[str, Any]) -> str:
    if all(old is None for old, _ in changed.values()):
        return "the whole contract" if changed else "as CustomerGauge has it"
    return _differences(changed)


def _differences(changed: dict[str, Any]) -> str:
    return ", ".join(f"{field} {difference(field, changed)}" for field in in_order(changed))
