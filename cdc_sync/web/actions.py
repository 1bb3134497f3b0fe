"""What the buttons do: each changes the state as its command does, and leads back to its page."""

import re
from urllib.parse import urlencode

from starlette.responses import Response

from cdc_sync.contract import Status
from cdc_sync.errors import SourceUnavailable, UserMistake
from cdc_sync.operations import actions, contracts, watermark
from cdc_sync.rules.watermark import write_watermark
from cdc_sync.state import control
from cdc_sync.web import flash
from cdc_sync.web.access import client_address, safe_path
from cdc_sync.web.context import PageRequest
from cdc_sync.web.pages import show_watermark, whole_number

LONGEST_REASON = 200  # characters
_SEPARATORS = re.compile(r"[\s,.'’_]")  # as people write thousands


def pause(request: PageRequest) -> Response:
    """Stops delivery."""
    actions.pause(request.state)
    return _done(request, "/", "paused")


def resume(request: PageRequest) -> Response:
    """Starts delivery again."""
    actions.resume(request.state, request.context.now())
    return _done(request, "/", "resumed")


def retry(request: PageRequest) -> Response:
    """Makes one contract due now, or one group of what is stuck, or all of it."""
    form, now = request.form, request.context.now()
    if "group" in form:
        status = Status.WAITING if form.get("status") == Status.WAITING else Status.REJECTED
        count = contracts.retry_group(request.state, status, form["group"], now)
    else:
        count = actions.retry(request.state, [form["id"]] if "id" in form else None, now)
    return _done(request, "/refusals", "retried", count)


def resend(request: PageRequest) -> Response:
    """Sends one contract once more."""
    name = request.form.get("id", "")
    count = actions.resend(request.state, [name], request.context.now())
    return _done(request, f"/contract?{urlencode({'id': name})}", "resent", count)


def accept(request: PageRequest) -> Response:
    """Accepts the rejection of one contract, or those of one group."""
    form, who, now = request.form, _visitor(request), request.context.now()
    reason = _reason(request)
    if "group" in form:
        count = contracts.accept_group(
            request.state, form["group"], who=who, reason=reason, now=now
        )
    else:
        names = [form.get("id", "")]
        count = actions.accept(request.state, names, who=who, reason=reason, now=now)
    return _done(request, "/refusals", "accepted", count)


def withdraw(request: PageRequest) -> Response:
    """Ends the acceptance of one contract's rejection."""
    names, now = [request.form.get("id", "")], request.context.now()
    count = actions.withdraw(request.state, names, who=_visitor(request), reason=None, now=now)
    return _done(request, "/refusals", "withdrawn", count)


def approve(request: PageRequest) -> Response:
    """Releases what the page showed as held, if its number was typed."""
    hold, run = actions.held_document(request.state), whole_number(request.form.get("run"))
    typed = _SEPARATORS.sub("", request.form.get("typed", ""))
    if hold is None:
        return _done(request, "/guard", "released")
    if typed != str(hold["held"]) or run is None:
        was_right = typed != "" and typed == request.form.get("held")
        return _done(request, "/guard", "changed" if was_right else "mistyped", hold["held"])
    context = request.context
    ends = context.config.deletes.policy == "end"
    done = actions.approve(context.state, min(run, hold["run"]), ends=ends, now=context.now())
    return _done(request, "/guard", "approved", done["released"])


def discard(request: PageRequest) -> Response:
    """Drops what is held, if the word was typed; the daemon reads it again from the source."""
    if request.form.get("typed", "").strip().lower() != "discard":
        return _done(request, "/guard", "mistyped")
    _request_run(request, "discard")
    return _done(request, "/guard", "discarding")


def reconcile(request: PageRequest) -> Response:
    """Has the daemon compare everything."""
    _request_run(request, "reconcile")
    return _done(request, "/runs", "reconciling")


def preview(request: PageRequest) -> Response:
    """Shows what a rewind would mean, or why there can be none; nothing is moved."""
    by = request.form.get("by", "").strip()
    typed = {"by": by, "reason": _reason(request)}
    try:
        move = _plan(request, watermark.back_by(by))
    except (UserMistake, SourceUnavailable) as error:
        code = 400 if isinstance(error, UserMistake) else 503
        return show_watermark(request, code, mistake=str(error), **typed)
    return show_watermark(request, move=move, to=write_watermark(move.to), **typed)


def rewind(request: PageRequest) -> Response:
    """Moves the watermark back to where the preview said."""
    move = _plan(request, watermark.to_value(request.form.get("to", ""), force=False))
    if move.goes_forward:
        raise UserMistake("The page moves the watermark back, never forward.")
    who, now = _visitor(request), request.context.now()
    watermark.apply_move(request.state, move, who, _reason(request) or None, now)
    return _done(request, "/watermark", "moved")


def _plan(request: PageRequest, target: watermark.Target) -> watermark.Move:
    context = request.context
    return context.source_queries.run(
        lambda: watermark.plan_move(context.config, context.state, "rewind", target)
    )


def _visitor(request: PageRequest) -> str:
    return f"status page, from {client_address(request.http)}"


def _reason(request: PageRequest) -> str:
    return request.form.get("reason", "").strip()[:LONGEST_REASON]


def _request_run(request: PageRequest, kind: str) -> None:
    # One name for each kind: however often it is asked for, it is one request, and one row.
    with request.state.begin() as tx:
        control.ask(tx, f"page-{kind}", kind, request.context.now())


def _done(request: PageRequest, path: str, code: str, count: int = 0) -> Response:
    """Returns to where the button was; that page says what was done."""
    request.context.acted()
    return flash.redirect(request.http, safe_path(request.form.get("back") or path), code, count)
