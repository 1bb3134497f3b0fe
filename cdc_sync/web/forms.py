"""Forms as browsers send them: small, flat, and of one kind."""

from collections.abc import Mapping
from typing import TypeAlias
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request

Form: TypeAlias = Mapping[str, str]

LARGEST_BODY = 16 * 1024
MOST_FIELDS = 20
_KIND = "application/x-www-form-urlencoded"


async def form_of(request: Request) -> Form:
    """The fields of a POST. Raises HTTPException for one that is too large, or of another kind."""
    kind = request.headers.get("content-type", _KIND).partition(";")[0].strip().lower()
    if kind != _KIND:
        raise HTTPException(415, f"Send the fields as {_KIND}.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise HTTPException(413, f"No form is larger than {LARGEST_BODY} bytes.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:
        raise HTTPException(400, "This is no form.") from None
