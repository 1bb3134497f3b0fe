"""What the buttons do: each changes the state as its command does, and leads back to a page."""

import re
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from cdc_sync.contract import Status
from cdc_sync.errors import SourceUnavailable, UserMistake
from cdc_sync.operations import actions, contracts, watermark
from cdc_sync.rules.watermark import write_watermark
from cdc_sync.state import control
from cdc_sync.web.access import Form, safe_path
from cdc_sync.web.context import Desk
from cdc_sync.web.pages import positions
from cdc_sync.web.render import leading_to, page

LONGEST_REASON = 200  # characters
_SEPARATORS = re.compile(r"[\s,.'’_]")  # as people write thousands


def pause(desk: Desk, request: Request, form: Form) -> Response:
    """Stops delivery."""
    actions.pause(desk.state)
    return _done(desk, request, form, "/", "paused")


def resume(desk: Desk, request: Request, form: Form) -> Response:
    """Starts it again."""
    actions.resume(desk.state, desk.now())
    return _done(desk, request, form, "/", "resumed")


def retry(desk: Desk, request: Request, form: Form) -> Response:
    """Makes one contract due now, or one group of what is stuck, or all of it."""
    if "id" in form:
        count = actions.retry(desk.state, [form["id"]], desk.now())
    elif "group" in form:
        status = Status.WAITING if form.get("status") == Status.WAITING else Status.REJECTED
        count = contracts.retry_group(desk.state, status, form["group"], desk.now())
    else:
        count = actions.retry(desk.state, None, desk.now())
    return _done(desk, request, form, "/refusals", "retried", count)


def resend(desk: Desk, request: Request, form: Form) -> Response:
    """Sends one contract once more."""
    name = form.get("id", "")
    count = actions.resend(desk.state, [name], desk.now())
    return _done(desk, request, form, f"/contract?{urlencode({'id': name})}", "resent", count)


def approve(desk: Desk, request: Request, form: Form) -> Response:
    """Releases what the page showed as held, if its number was typed."""
    hold, run = actions.held_document(desk.state), form.get("run", "")
    typed = _SEPARATORS.sub("", form.get("typed", ""))
    if hold is None:
        return _done(desk, request, form, "/guard", "released")
    if typed != str(hold["held"]) or not (run.isdecimal() and len(run) < 19):
        was_right = typed != "" and typed == form.get("held")
        code = "changed" if was_right else "mistyped"
        return _done(desk, request, form, "/guard", code, hold["held"])
    ends = desk.config.deletes.policy == "end"
    done = actions.approve(desk.state, min(int(run), hold["run"]), ends=ends, now=desk.now())
    return _done(desk, request, form, "/guard", "approved", done["released"])


def discard(desk: Desk, request: Request, form: Form) -> Response:
    """Drops what is held, if the word was typed; the daemon looks at it afresh."""
    if form.get("typed", "").strip().lower() != "discard":
        return _done(desk, request, form, "/guard", "mistyped")
    _ask(desk, "discard")
    return _done(desk, request, form, "/guard", "discarding")


def reconcile(desk: Desk, request: Request, form: Form) -> Response:
    """Has the daemon compare everything."""
    _ask(desk, "reconcile")
    return _done(desk, request, form, "/runs", "reconciling")


def preview(desk: Desk, request: Request, form: Form) -> Response:
    """What a rewind would mean, or why there can be none; nothing is moved."""
    by, reason = form.get("by", "").strip(), form.get("reason", "").strip()[:LONGEST_REASON]
    shown = positions(desk) | {"by": by, "reason": reason}
    try:
        move = _planned(desk, watermark.back_by(by))
    except (UserMistake, SourceUnavailable) as error:
        code = 400 if isinstance(error, UserMistake) else 503
        return page(desk, request, "watermark.html", shown | {"mistake": str(error)}, code)
    proposed = {"move": move, "to": write_watermark(move.to)}
    return page(desk, request, "watermark.html", shown | proposed)


def rewind(desk: Desk, request: Request, form: Form) -> Response:
    """Moves the watermark back to where the preview said."""
    target = watermark.to_value(form.get("to", ""), force=False)
    move = _planned(desk, target)
    if move.goes_forward:
        raise UserMistake("The page moves the watermark back, never forward.")
    address = request.client.host if request.client else "unknown"
    reason = form.get("reason", "").strip()[:LONGEST_REASON] or None
    watermark.carry_out(desk.state, move, f"status page, from {address}", reason, desk.now())
    return _done(desk, request, form, "/watermark", "moved")


def _planned(desk: Desk, target: watermark.Target) -> watermark.Move:
    return desk.asking.ask(lambda: watermark.planned(desk.config, desk.state, "rewind", target))


def _ask(desk: Desk, kind: str) -> None:
    # One name a kind: however often it is asked for, it is one request, and one row.
    with desk.state.begin() as tx:
        control.ask(tx, f"page-{kind}", kind, desk.now())


def _done(
    desk: Desk, request: Request, form: Form, path: str, code: str, count: int | None = None
) -> Response:
    """Leads back to where the button was; that page says what was done."""
    desk.acted()
    return leading_to(request, safe_path(form.get("back") or path), code, count)
