"""Faults as people and JSON write them, read strictly, with the mistake told in words."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from cdc_sync.errors import UserMistake
from cdc_sync.sandbox.faults import PATHS, Fault, Kind

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/(s|m|h))?")
SHARE = re.compile(r"(\d+(?:\.\d+)?)(%)?")
EXAMPLES = "Write for example: latency=200ms, status=503 share=10% times=3, rate=20/s, reset, lost."
#: One of each that people rehearse, in the order in which the page offers them.
OFFERED = (
    "latency=500ms",
    "status=500 share=10%",
    "rate=5/s",
    "expiry times=1",
    "reset share=10%",
    "lost share=10%",
    "late=20s share=10%",
    "hang share=10%",
    "status=503",
    "status=422 share=10%",
    "status=401 path=token",
)


def parse_fault(text: str) -> Fault:
    """Read one fault from `kind=value key=value …`, set apart by spaces or commas.

    Raises UserMistake in words.
    """
    words = [word.partition("=") for word in re.split(r"[,\s]+", text.strip()) if word]
    if not words:
        raise UserMistake("A fault without a kind.", mend=EXAMPLES)
    (name, _, value), *rest = words
    fields = {key: given for key, _, given in rest}
    kind = _kind(name)
    if value:
        fields[_own_field(kind)] = value
    return _fault(kind, fields)


def fault_of(document: object) -> Fault:
    """Read one fault from JSON: such a text, or an object with the fields of Fault."""
    if isinstance(document, str):
        return parse_fault(document)
    if not isinstance(document, Mapping) or "kind" not in document:
        raise UserMistake("A fault is a text or an object with a kind.", mend=EXAMPLES)
    fields = {key: str(value) for key, value in document.items() if value is not None}
    return _fault(_kind(fields.pop("kind")), fields)


def _fault(kind: Kind, fields: Mapping[str, str]) -> Fault:
    needed = NEEDED.get(kind)
    if needed is not None and needed not in fields:
        raise UserMistake(f"The fault {kind} needs its value.", mend=EXAMPLES)
    values: dict[str, Any] = {}
    for name, text in fields.items():
        if name not in READ:
            raise UserMistake(f"A fault has no {name!r}.", mend=f"It has {', '.join(READ)}.")
        values[name] = READ[name](text)
    return replace(Fault(kind), **values)


def _kind(name: str) -> Kind:
    try:
        return Kind(name)
    except ValueError:
        kinds = ", ".join(Kind)
        raise UserMistake(f"{name!r} is no kind of fault.", mend=f"Kinds: {kinds}.") from None


def _own_field(kind: Kind) -> str:
    """Which field the value behind the kind itself fills: `status=500`, `latency=2s`."""
    if kind in OWN:
        return OWN[kind]
    raise UserMistake(f"The fault {kind} takes no value of its own.", mend=EXAMPLES)


def _matched(pattern: re.Pattern[str], text: str, what: str, example: str) -> tuple[float, str]:
    found = pattern.fullmatch(text)
    if found is None:
        raise UserMistake(f"{text!r} is not {what}.", mend=f"Write it as {example}.")
    return float(found[1]), found[2] or ""


def _seconds(text: str) -> float:
    number, unit = _matched(DURATION, text, "a duration", "200ms or 5s")
    return number * UNITS[unit or "s"]


def _per_second(text: str) -> float:
    number, unit = _matched(RATE, text, "a rate", "20/s")
    if number == 0:
        raise UserMistake("A rate of 0 lets nothing through.", mend="Use status=429 for that.")
    return number / UNITS[unit or "s"]


def _share(text: str) -> float:
    number, percent = _matched(SHARE, text, "a share", "10% or 0.1")
    share = number / 100 if percent else number
    if share > 1:
        raise UserMistake(f"{text!r} is more than all requests.", mend="Write it as 10% or 0.1.")
    return share


def _status(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 200 <= int(text) <= 599):
        raise UserMistake(f"{text!r} is not an answer's status.", mend="It is 200 to 599.")
    return int(text)


def _times(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UserMistake(f"{text!r} is not how often.", mend="Write a whole number from 1.")
    return int(text)


def _path(text: str) -> str:
    if text not in PATHS:
        raise UserMistake(f"{text!r} is no path here.", mend=f"Paths: {', '.join(PATHS)}.")
    return text


READ: dict[str, Callable[[str], Any]] = {
    "status": _status,
    "retry_after": str,
    "body": str,
    "seconds": _seconds,
    "per_second": _per_second,
    "share": _share,
    "times": _times,
    "path": _path,
}
OWN = {
    Kind.STATUS: "status",
    Kind.LATENCY: "seconds",
    Kind.RATE: "per_second",
    Kind.HANG: "seconds",
    Kind.LATE: "seconds",
    Kind.LOST: "status",
    Kind.REDIRECT: "status",
}
NEEDED = {
    Kind.STATUS: "status",
    Kind.LATENCY: "seconds",
    Kind.RATE: "per_second",
    Kind.LATE: "seconds",
}
