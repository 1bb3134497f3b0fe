"""What the buttons do: each changes the state as its command does, and leads back to its page."""

import re
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from cdc_sync.contract import Status
from cdc_sync.errors import SourceUnavailable, UserMistake
from cdc_sync.operations import actions, contracts, watermark
from cdc_sync.rules.watermark import write_watermark
from cdc_sync.state import control
from cdc_sync.web import flash
from cdc_sync.web.access import Form, safe_path
from cdc_sync.web.context import PageContext
from cdc_sync.web.pages import watermark_variables
from cdc_sync.web.render import page

LONGEST_REASON = 200  # characters
_SEPARATORS = re.compile(r"[\s,.'’_]")  # as people write thousands


def pause(context: PageContext, request: Request, form: Form) -> Response:
    """Stops delivery."""
    actions.pause(context.state)
    return _done(context, request, form, "/", "paused")


def resume(context: PageContext, request: Request, form: Form) -> Response:
    """Starts it again."""
    actions.resume(context.state, context.now())
    return _done(context, request, form, "/", "resumed")


def retry(context: PageContext, request: Request, form: Form) -> Response:
    """Makes one contract due now, or one group of what is stuck, or all of it."""
    if "id" in form:
        count = actions.retry(context.state, [form["id"]], context.now())
    elif "group" in form:
        status = Status.WAITING if form.get("status") == Status.WAITING else Status.REJECTED
        count = contracts.retry_group(context.state, status, form["group"], context.now())
    else:
        count = actions.retry(context.state, None, context.now())
    return _done(context, request, form, "/refusals", "retried", count)


def resend(context: PageContext, request: Request, form: Form) -> Response:
    """Sends one contract once more."""
    name = form.get("id", "")
    count = actions.resend(context.state, [name], context.now())
    return _done(context, request, form, f"/contract?{urlencode({'id': name})}", "resent", count)


def approve(context: PageContext, request: Request, form: Form) -> Response:
    """Releases what the page showed as held, if its number was typed."""
    hold, run = actions.held_document(context.state), form.get("run", "")
    typed = _SEPARATORS.sub("", form.get("typed", ""))
    if hold is None:
        return _done(context, request, form, "/guard", "released")
    if typed != str(hold["held"]) or not (run.isdecimal() and len(run) < 19):
        was_right = typed != "" and typed == form.get("held")
        code = "changed" if was_right else "mistyped"
        return _done(context, request, form, "/guard", code, hold["held"])
    ends = context.config.deletes.policy == "end"
    done = actions.approve(context.state, min(int(run), hold["run"]), ends=ends, now=context.now())
    return _done(context, request, form, "/guard", "approved", done["released"])


def discard(context: PageContext, request: Request, form: Form) -> Response:
    """Drops what is held, if the word was typed; the daemon looks at it afresh."""
    if form.get("typed", "").strip().lower() != "discard":
        return _done(context, request, form, "/guard", "mistyped")
    _request_run(context, "discard")
    return _done(context, request, form, "/guard", "discarding")


def reconcile(context: PageContext, request: Request, form: Form) -> Response:
    """Has the daemon compare everything."""
    _request_run(context, "reconcile")
    return _done(context, request, form, "/runs", "reconciling")


def preview(context: PageContext, request: Request, form: Form) -> Response:
    """Shows what a rewind would mean, or why there can be none; nothing is moved."""
    by, reason = form.get("by", "").strip(), form.get("reason", "").strip()[:LONGEST_REASON]
    variables = watermark_variables(context) | {"by": by, "reason": reason}
    try:
        move = _planned(context, watermark.back_by(by))
    except (UserMistake, SourceUnavailable) as error:
        code = 400 if isinstance(error, UserMistake) else 503
        return page(context, request, "watermark.html", variables | {"mistake": str(error)}, code)
    proposed = {"move": move, "to": write_watermark(move.to)}
    return page(context, request, "watermark.html", variables | proposed)


def rewind(context: PageContext, request: Request, form: Form) -> Response:
    """Moves the watermark back to where the preview said."""
    target = watermark.to_value(form.get("to", ""), force=False)
    move = _planned(context, target)
    if move.goes_forward:
        raise UserMistake("The page moves the watermark back, never forward.")
    address = request.client.host if request.client else "unknown"
    reason = form.get("reason", "").strip()[:LONGEST_REASON] or None
    watermark.apply_move(context.state, move, f"status page, from {address}", reason, context.now())
    return _done(context, request, form, "/watermark", "moved")


def _planned(context: PageContext, target: watermark.Target) -> watermark.Move:
    def ask() -> watermark.Move:
        return watermark.plan_move(context.config, context.state, "rewind", target)

    return context.source_queries.run(ask)


def _request_run(context: PageContext, kind: str) -> None:
    # One name for each kind: however often it is asked for, it is one request, and one row.
    with context.state.begin() as tx:
        control.ask(tx, f"page-{kind}", kind, context.now())


def _done(
    context: PageContext,
    request: Request,
    form: Form,
    path: str,
    code: str,
    count: int | None = None,
) -> Response:
    """Returns to where the button was; that page says what was done."""
    context.acted()
    return flash.redirect(request, safe_path(form.get("back") or path), code, count)
