"""What the buttons do: each changes the state as its command does, and leads back to a page."""

from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from cdc_sync import approval, moves, operations, refusals
from cdc_sync.contract import Status
from cdc_sync.errors import UserMistake
from cdc_sync.rules.watermark import write_watermark
from cdc_sync.state import control
from cdc_sync.web.access import safe_path
from cdc_sync.web.desk import Desk
from cdc_sync.web.forms import Form
from cdc_sync.web.pages import positions
from cdc_sync.web.render import page

LONGEST_REASON = 200  # characters


def pause(desk: Desk, _request: Request, form: Form) -> Response:
    """Stops delivery."""
    operations.pause(desk.state)
    return _done(desk, form, "/", "paused")


def resume(desk: Desk, _request: Request, form: Form) -> Response:
    """Starts it again."""
    operations.resume(desk.state, desk.now())
    return _done(desk, form, "/", "resumed")


def retry(desk: Desk, _request: Request, form: Form) -> Response:
    """Makes one contract due now, or one group of what is stuck, or all of it."""
    if "id" in form:
        count = operations.retry(desk.state, [form["id"]], desk.now())
    elif "group" in form:
        status = Status.WAITING if form.get("status") == Status.WAITING else Status.REJECTED
        count = refusals.retry_group(desk.state, status, form["group"], desk.now())
    else:
        count = operations.retry(desk.state, None, desk.now())
    return _done(desk, form, "/refusals", "retried", count)


def resend(desk: Desk, _request: Request, form: Form) -> Response:
    """Sends one contract once more."""
    name = form.get("id", "")
    count = operations.resend(desk.state, [name], desk.now())
    return _done(desk, form, f"/contract?{urlencode({'id': name})}", "resent", count)


def approve(desk: Desk, _request: Request, form: Form) -> Response:
    """Releases what the page showed as held, if its number was typed."""
    hold, run = approval.held_document(desk.state), form.get("run", "")
    is_number = run.isdecimal() and len(run) < 19
    if hold is None or not is_number or form.get("typed", "").strip() != str(hold["held"]):
        return _done(desk, form, "/guard", "mistyped")
    ends = desk.config.deletes.policy == "end"
    done = approval.approve(desk.state, min(int(run), hold["run"]), ends=ends, now=desk.now())
    return _done(desk, form, "/guard", "approved", done["released"])


def discard(desk: Desk, _request: Request, form: Form) -> Response:
    """Drops what is held, if the word was typed; the daemon looks at it afresh."""
    if form.get("typed", "").strip().lower() != "discard":
        return _done(desk, form, "/guard", "mistyped")
    _ask(desk, "discard")
    return _done(desk, form, "/guard", "discarding")


def reconcile(desk: Desk, _request: Request, form: Form) -> Response:
    """Has the daemon compare everything."""
    _ask(desk, "reconcile")
    return _done(desk, form, "/runs", "reconciling")


def preview(desk: Desk, request: Request, form: Form) -> Response:
    """What a rewind would mean; nothing is moved."""
    by = form.get("by", "").strip()
    move = _planned(desk, moves.back_by(by))
    reason = form.get("reason", "").strip()[:LONGEST_REASON]
    proposed = {"move": move, "to": write_watermark(move.to), "by": by, "reason": reason}
    return page(desk, request, "watermark.html", positions(desk) | proposed)


def rewind(desk: Desk, request: Request, form: Form) -> Response:
    """Moves the watermark back to where the preview said."""
    target = moves.to_value(form.get("to", ""), force=False)
    move = _planned(desk, target)
    if move.goes_forward:
        raise UserMistake("The page moves the watermark back, never forward.")
    address = request.client.host if request.client else "unknown"
    reason = form.get("reason", "").strip()[:LONGEST_REASON] or None
    moves.carry_out(desk.state, move, f"status page, from {address}", reason, desk.now())
    return _done(desk, form, "/watermark", "moved")


def _planned(desk: Desk, target: moves.Target) -> moves.Move:
    return desk.asking.ask(lambda: moves.planned(desk.config, desk.state, "rewind", target))


def _ask(desk: Desk, kind: str) -> None:
    # One name a kind: however often it is asked for, it is one request, and one row.
    with desk.state.begin() as tx:
        control.ask(tx, f"page-{kind}", kind, {})


def _done(desk: Desk, form: Form, path: str, code: str, count: int | None = None) -> Response:
    """Leads back to where the button was, and says there what was done."""
    desk.acted()
    back = urlsplit(safe_path(form.get("back") or path))
    kept = [pair for pair in parse_qsl(back.query) if pair[0] not in ("done", "n")]
    told = [("done", code), *([("n", str(count))] if count is not None else [])]
    return RedirectResponse(f"{back.path}?{urlencode(kept + told)}", 303)
