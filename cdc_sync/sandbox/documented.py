"""The documented rules of PUT /contracts and PUT /accounts, and the words of their refusals."""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

Errors = dict[str, list[str]]

REFERENCE_MAX = 128  # characters; these five: CustomerGauge's support pages
ACCOUNT_MAX = 255
DESCRIPTION_MAX = 150
NUMBER_MAX = 255
ACCOUNT_DETAIL_MAX = 128
ACCOUNT_DETAILS = ("manager", "parent", "region")

Y_M_D = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def contract_errors(body: Mapping[str, Any]) -> Errors:
    """What PUT /contracts refuses in this body, by field; empty when it is taken."""
    return _collected(
        ("reference", _required_text(body, "reference", REFERENCE_MAX)),
        ("account", _required_text(body, "account", ACCOUNT_MAX)),
        ("start", _required_date(body, "start")),
        ("end", _date(body, "end")),
        ("description", _text(body, "description", DESCRIPTION_MAX)),
    )


def account_errors(body: Mapping[str, Any]) -> Errors:
    """What PUT /accounts refuses in this body, by field; empty when it is taken."""
    return _collected(
        ("reference", _required_text(body, "reference", REFERENCE_MAX)),
        ("number", _text(body, "number", NUMBER_MAX)),
        *(
            (name, _text(body, name, ACCOUNT_DETAIL_MAX))
            for name in ("manager", "parent", "region")
        ),
    )


def unknown_account() -> Errors:
    """The refusal of a contract whose account does not exist."""
    return {"account": ["The selected account is invalid."]}


def _collected(*found: tuple[str, Iterator[str]]) -> Errors:
    listed = ((field, list(texts)) for field, texts in found)
    return {field: texts for field, texts in listed if texts}


def _required_text(body: Mapping[str, Any], field: str, longest: int) -> Iterator[str]:
    if _blank(body.get(field)):
        yield f"The {field} field is required."
    else:
        yield from _text(body, field, longest)


def _text(body: Mapping[str, Any], field: str, longest: int) -> Iterator[str]:
    value = body.get(field)
    if value is None:
        return
    if not isinstance(value, str):
        yield f"The {field} must be a string."
    elif len(value) > longest:
        yield f"The {field} may not be greater than {longest} characters."


def _required_date(body: Mapping[str, Any], field: str) -> Iterator[str]:
    if _blank(body.get(field)):
        yield f"The {field} field is required."
    else:
        yield from _date(body, field)


def _date(body: Mapping[str, Any], field: str) -> Iterator[str]:
    value = body.get(field)
    if not (_blank(value) or (isinstance(value, str) and _is_y_m_d(value))):
        yield f"The {field} does not match the format Y-m-d."


def _blank(value: object) -> bool:
    """Laravel's `required` and `nullable`: null, and a text of nothing but white space."""
    return value is None or (isinstance(value, str) and not value.strip())


def _is_y_m_d(text: str) -> bool:
    if not Y_M_D.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
