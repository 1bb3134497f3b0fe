"""Renders templates to responses: everything is escaped, and a missing name is a mistake."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, Response

from cdc_sync import __version__
from cdc_sync.web import flash
from cdc_sync.web.access import requested_path
from cdc_sync.web.context import PageRequest
from cdc_sync.wording import (
    format_count,
    format_instant,
    format_problems,
    format_seconds,
    sort_fields,
)

_PATH = re.compile(r"(?<![\w:/.])/(?:[\w@+.~-]+/)+")
_SQLITE = re.compile(r"(sqlite:/{2,3})(?:[^/\s'\"]*/)+")
_COMMAND = re.compile(r": cdc-sync [^.]*$")
_INSTANT = re.compile(r"\b(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)")


def page(request: PageRequest, template: str, code: int = 200, /, **variables: Any) -> Response:
    """Returns a template as a whole page, with the flash message that waits for it."""
    flash_message = flash.read(request.http)
    common = {
        "visitor": request.visitor,
        "here": request.http.url.path,
        "asked": requested_path(request.http),
        "sandbox_url": request.context.sandbox_url,
        "can_log_in": request.context.secret.is_set,
        "flash_message": flash_message,
    }
    response = HTMLResponse(render(template, common | variables), code)
    if flash_message:
        flash.clear(request.http, response)
    return response


def render(template: str, variables: Mapping[str, Any]) -> str:
    """Returns a template as HTML."""
    return _TEMPLATES.get_template(template).render(variables)


# --- the filters of the templates ---


def instant(value: datetime | str | None) -> Markup:
    """Returns a time element: in UTC here, in the viewer's zone where the page's script runs."""
    if value is None:
        return Markup("—")
    written = format_instant(value, "milliseconds")
    utc = f"{written[:10]} {written[11:19]} UTC"
    return Markup('<time datetime="{0}" title="{1}">{1}</time>').format(written, utc)


def isolate(text: Any) -> Markup:
    """Returns foreign text in an element of its own: a direction that it sets ends with it."""
    return Markup("<bdi>{}</bdi>").format(text)


def isolate_name(text: str, name: str) -> Markup:
    """Returns a text of ours whose first sentence ends with a foreign name, that one isolated."""
    before, found, after = text.partition(f" {name}.")
    if not found:
        return escape(text)
    return Markup("{} {}.{}").format(before, isolate(name), after)


def hide_folders(text: object) -> str:
    """Returns the text without the folders of this machine."""
    return _PATH.sub("…/", _SQLITE.sub(r"\1…/", str(text)))


def drop_command(sentence: str) -> str:
    """Returns a sentence without the command that it ends with: the page has a link or button."""
    return _COMMAND.sub(".", sentence)


def mark_instants(text: str) -> Markup:
    """Returns a sentence in which every instant is a time element."""
    parts = _INSTANT.split(text)
    return Markup("").join(
        instant(part) if at % 2 else escape(part) for at, part in enumerate(parts)
    )


def value(text: Any) -> Any:
    """Returns a field of a contract, or a dash for none."""
    return Markup('<span class="none">—</span>') if text in (None, "") else text


_TEMPLATES = Environment(
    loader=PackageLoader("cdc_sync.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.globals["version"] = __version__
_TEMPLATES.filters.update(
    format_count=format_count,
    drop_command=drop_command,
    duration=format_seconds,
    hide_folders=hide_folders,
    instant=instant,
    isolate=isolate,
    isolate_name=isolate_name,
    mark_instants=mark_instants,
    number="{:,}".format,
    problems=format_problems,
    sort_fields=sort_fields,
    value=value,
)
