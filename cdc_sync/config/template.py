"""Templates of the mapping: a column name, or text with `{column}` in it."""

import re
from dataclasses import dataclass

_TOKEN = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<column>[^{}]*)\}|(?P<text>[^{}]+)")
_MORE_THAN_A_NAME = re.compile(r"[:!.\[\]]")


@dataclass(frozen=True, slots=True)
class TemplateText:
    """A text that goes into the result as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class TemplateColumn:
    """A column whose value goes into the result."""

    name: str


Part = TemplateText | TemplateColumn


def parse_template(template: str) -> tuple[Part, ...]:
    """Returns the parts in their order; a template without braces is one column's name.

    `{{` and `}}` are literal braces. Raises ValueError with the right form where a brace has no
    partner, or where it holds anything but a name.
    """
    if "{" not in template and "}" not in template:
        return (_column(template),)
    parts: list[Part] = []
    position = 0
    while position < len(template):
        token = _TOKEN.match(template, position)
        if token is None:
            raise ValueError(
                f"has a brace without its partner in `{template}`. "
                "Write `{column}`, and `{{` or `}}` for a brace itself."
            )
        parts.append(_part(token))
        position = token.end()
    return tuple(parts)


def template_columns(template: str) -> tuple[str, ...]:
    """Returns the columns that a template reads, in its order."""
    return tuple(part.name for part in parse_template(template) if isinstance(part, TemplateColumn))


def _part(token: re.Match[str]) -> Part:
    if token["brace"]:
        return TemplateText(token["brace"][0])
    if token["text"]:
        return TemplateText(token["text"])
    if _MORE_THAN_A_NAME.search(token["column"]):
        raise ValueError(
            f"has `{{{token['column']}}}`, which is more than a column's name. "
            "Write `{column}`, and shape the value in a `query`."
        )
    return _column(token["column"])


def _column(name: str) -> TemplateColumn:
    if not name.strip() or name != name.strip():
        raise ValueError(f"names the column `{name}`. Write its name without blanks around it.")
    return TemplateColumn(name)
