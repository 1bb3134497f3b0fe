"""`make docs`: writes the pages that the program says itself, so that they cannot lie."""

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from cdc_sync.cli.app import options, register
from cdc_sync.config import units
from cdc_sync.config.load import SECTIONS
from cdc_sync.config.write import config_schema

HERE = Path(__file__).resolve().parent
MARK = "<!-- From here on made by `make docs`, of the program's own words. -->"
_WORDS: Mapping[str, str] = {
    f"^({units.DURATION_PATTERN})$": "duration",
    f"^{units.DURATION_PATTERN}$": "duration",
    f"^({units.RATE_PATTERN}|{units.OFF})$": "rate, or `none`",
    f"^({units.SHARE_PATTERN}|{units.OFF})$": "share, or `none`",
    "^https?://": "URL",
}


def pages() -> dict[Path, str]:
    """Every page that is made in part: what a person wrote above the mark, and what is so now."""
    made = {"configuration.md": configuration(), "commands.md": command_reference()}
    return {
        HERE / name: f"{(HERE / name).read_text().partition(MARK)[0]}{MARK}\n\n{text}"
        for name, text in made.items()
    }


def configuration() -> str:
    """Every key of config.yaml, section by section."""
    schema = config_schema()
    blocks: list[str] = []
    for name, model in SECTIONS.items():
        form = schema["$defs"][model.__name__]
        required = form.get("required", [])
        rows = [
            (f"`{key}`", _type(about), _default(about, required=key in required), _about(about))
            for key, about in form["properties"].items()
        ]
        rule = model.broken_rule(frozenset())
        blocks += [f"## {name}", " ".join((model.__doc__ or "").split())]
        blocks += [f"It {rule}"] if rule else []
        blocks += [_table(("key", "type", "default", "meaning"), rows)]
    return "\n\n".join(blocks) + "\n"


def command_line() -> Any:
    """The whole command, as a shell sees it."""
    app = typer.Typer(name="cdc-sync")
    app.callback()(options)
    register(app)
    return typer.main.get_command(app)


def leaves(group: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, by its words: ("watermark", "set")."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, *names, name)
        else:
            yield (*names, name), command


def command_reference() -> str:
    """Every command with its help, its arguments and its options."""
    whole = command_line()
    blocks = [_parameters(whole)]
    for words, command in leaves(whole):
        context = command.make_context(words[-1], [], resilient_parsing=True)
        usage = [piece.strip("{}") for piece in command.collect_usage_pieces(context)]
        blocks += [
            f"## {' '.join(words)}",
            " ".join(command.help.split()),
            f"```text\n{' '.join(('cdc-sync', *words, *usage))}\n```",
        ]
        blocks += [_parameters(command)] if command.params else []
    return "\n\n".join(blocks) + "\n"


def _parameters(command: Any) -> str:
    rows = [(_spelled(one), one.help or "", _preset(one)) for one in command.params]
    return _table(("option", "meaning", "default"), rows)


def _spelled(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    return names if parameter.is_flag else f"{names} {_value(parameter)}"


def _value(parameter: Any) -> str:
    kind = parameter.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{one.value}`" for one in kind)
    names = {int: "N", float: "N", Path: "FILE"}
    return f"`{parameter.metavar or names.get(kind, 'TEXT')}`"


def _preset(parameter: Any) -> str:
    preset = parameter.default
    if preset is None or preset == () or isinstance(preset, bool) or callable(preset):
        return ""
    return f"`{preset.value if isinstance(preset, Enum) else preset}`"


def _type(form: Mapping[str, Any]) -> str:
    """What may be written, in words; that a `${…}` or null may stand there goes without saying."""
    choices = [one for one in form.get("anyOf", [form]) if one.get("type") != "null"]
    told = [_choice(one) for one in choices if one.get("pattern") != r"\$\{"]
    return " or ".join(dict.fromkeys(told))


def _choice(form: Mapping[str, Any]) -> str:
    if "enum" in form:
        return ", ".join(f"`{one}`" for one in form["enum"])
    match form["type"]:
        case "integer":
            least, most = form.get("minimum"), form.get("maximum")
            return f"number, {least} to {most:,}" if most else f"number, at least {least}"
        case "array":
            return "list of texts"
        case "boolean":
            return "`true`, `false`"
        case _:
            return _WORDS.get(form.get("pattern", ""), "text")


def _default(form: Mapping[str, Any], *, required: bool) -> str:
    if required:
        return "**required**"
    default = form.get("default")
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return "–" if default is None else f"`{default}`"


def _about(form: Mapping[str, Any]) -> str:
    examples = [f"`{one}`" for one in form.get("examples", [])]
    return (
        f"{form['description']} Example: {', '.join(examples)}" if examples else form["description"]
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Writes every generated page."""
    for file, text in pages().items():
        file.write_text(text)


if __name__ == "__main__":
    main()
