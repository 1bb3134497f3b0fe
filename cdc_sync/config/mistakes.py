"""What is wrong with a configuration, in plain words: never an input, never a class's name."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, cast

from cdc_sync.config.model import Config
from cdc_sync.config.section import Section

SECTIONS: dict[str, type[Section]] = {
    name: cast("type[Section]", field.annotation) for name, field in Config.model_fields.items()
}
_PHRASES = {
    "literal_error": "must be {expected}.",
    "greater_than_equal": "must be at least `{ge}`.",
    "less_than_equal": "must be at most `{le}`.",
    "string_too_short": "is empty.",
    "model_type": "must be a section: keys of its own, indented below it.",
}
_PHRASE = "has a value that cannot be used here."


def sentence_of(error: Mapping[str, Any], *, present: bool) -> str:
    """One validation error as a sentence; `present`: the key is in the file, if without a value."""
    place = tuple(str(step) for step in error["loc"][:2])
    key = f"`{'.'.join(place)}`"
    match error["type"]:
        case "missing":
            return _missing(place, present=present)
        case "extra_forbidden":
            return unknown(place)
        case "value_error":
            text = str(error["ctx"]["error"])
            return f"{key} {text}" if text[0].islower() else f"{key}: {text}"
        case kind:
            phrase = _PHRASES.get(kind, _PHRASE).format_map(error.get("ctx", {}))
            return f"{key} {phrase}".replace("'", "`")


def unknown(place: tuple[str, ...]) -> str:
    """That a key is none of ours, with the nearest that is."""
    said = f"`{'.'.join(place)}` is not a key."
    name = place[-1]
    siblings = list(SECTIONS) if len(place) == 1 else list(SECTIONS[place[0]].model_fields)
    parent = "" if len(place) == 1 else f"{place[0]}."
    if near := get_close_matches(name, siblings, n=1):
        return f"{said} Did you mean `{parent}{near[0]}`?"
    if elsewhere := [key for key in _every_key() if key.endswith(f".{name}")]:
        return f"{said} Did you mean `{elsewhere[0]}`?"
    where = f"`{place[0]}` has" if parent else "There are"
    return f"{said} {where} {_listed(siblings)}."


def _every_key() -> Iterable[str]:
    return (f"{name}.{key}" for name, section in SECTIONS.items() for key in section.model_fields)


def _missing(place: tuple[str, ...], *, present: bool) -> str:
    section = SECTIONS[place[0]].model_fields
    if len(place) == 1:
        required = [key for key, field in section.items() if field.is_required()]
        return f"the section `{place[0]}` is missing. It needs at least {_listed(required)}."
    examples = section[place[1]].examples or []
    return (
        f"`{'.'.join(place)}` {'has no value' if present else 'is missing'}. "
        f"Write for example `{place[1]}: {examples[0]}`."
    )


def _listed(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return " and ".join(part for part in (", ".join(quoted[:-1]), quoted[-1]) if part)
