"""Parses the templates of the mapping: a column's name, or text with `{column}` in it."""

from dataclasses import dataclass
from string import Formatter

_BEYOND_A_NAME = frozenset(":!.[]")


@dataclass(frozen=True, slots=True)
class TemplateColumn:
    """A column whose value goes into the result."""

    name: str


Part = str | TemplateColumn  # a text goes into the result as it is


def parse_template(template: str) -> tuple[Part, ...]:
    """Returns the parts in their order; a template without braces is one column's name.

    `{{` and `}}` are literal braces. Raises ValueError with the right form where a brace has no
    partner, or where it holds anything but a name.
    """
    if "{" not in template and "}" not in template:
        return (_column(template),)
    try:
        fields = list(Formatter().parse(template))
    except ValueError:
        raise ValueError(
            f"has a brace without its partner in `{template}`. "
            "Write `{column}`, and `{{` or `}}` for a brace itself."
        ) from None
    parts: list[Part] = []
    for text, name, spec, conversion in fields:
        if text:
            parts.append(text)
        if name is not None:
            suffix = (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            parts.append(_bare_column(name + suffix))
    return tuple(parts)


def template_columns(template: str) -> tuple[str, ...]:
    """Returns the columns that a template reads, in its order."""
    return tuple(part.name for part in parse_template(template) if isinstance(part, TemplateColumn))


def _bare_column(inside: str) -> TemplateColumn:
    if _BEYOND_A_NAME & set(inside):
        raise ValueError(
            f"has `{{{inside}}}`, which is more than a column's name. "
            "Write `{column}`, and shape the value in a `query`."
        )
    return _column(inside)


def _column(name: str) -> TemplateColumn:
    if not name.strip() or name != name.strip():
        raise ValueError(f"names the column `{name}`. Write its name without blanks around it.")
    return TemplateColumn(name)
