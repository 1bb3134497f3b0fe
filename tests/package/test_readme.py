"""The README is short, what it types can be typed, and the two long tables of docs/ are whole."""

import re
import shlex
from pathlib import Path

import pytest

from cdc_sync.config.load import SECTIONS
from cdc_sync.config.write import config_schema
from docs.generate import command_line, leaves

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
DOCS = {page.name: page.read_text() for page in (ROOT / "docs").glob("*.md")}
pytestmark = pytest.mark.quick

COMMANDS = dict(leaves(command_line()))
KEYS = [f"{name}.{key}" for name, model in SECTIONS.items() for key in model.model_fields]


def _keys_explained() -> dict[str, tuple[str, str]]:
    """Of each key in the tables of docs/configuration.md its default and its meaning."""
    found = {}
    for section in DOCS["configuration.md"].split("\n## ")[1:]:
        name = section.split("\n", 1)[0]
        rows = re.findall(
            r"^\| `([a-z_]+)` \| .*? \| (\S+(?: \S+)*) \| (.+) \|$", section, re.MULTILINE
        )
        found |= {f"{name}.{key}": (default, meaning) for key, default, meaning in rows}
    return found


TABLE = _keys_explained()


def _typed() -> list[list[str]]:
    """The words of every cdc-sync command that the consoles of README and docs show."""
    consoles = re.findall(r"```console\n(.*?)```", "\n".join([README, *DOCS.values()]), re.DOTALL)
    lines = [line for block in consoles for line in block.splitlines() if line.startswith("$ ")]
    words = [shlex.split(line.removeprefix("$ ").split("  #")[0]) for line in sorted(set(lines))]
    words = [line[1:] if line[0] == "sudo" else line for line in words]
    return [line[1:] for line in words if line[0] == "cdc-sync" and line[1] != "--version"]


def test_the_readme_can_be_read_in_three_minutes():
    assert len(README.splitlines()) <= 170


@pytest.mark.parametrize("page", sorted(DOCS))
def test_the_readme_leads_to_every_page(page: str):
    assert f"](docs/{page})" in README


@pytest.mark.parametrize("key", KEYS)
def test_the_documentation_explains_the_key(key: str):
    assert len(TABLE[key][1]) > 10


def test_the_documentation_explains_no_key_that_is_not_there():
    assert sorted(set(TABLE) - set(KEYS)) == []


@pytest.mark.parametrize("key", KEYS)
def test_the_documentation_gives_the_default_of_the_key(key: str):
    section, name = key.split(".")
    model = SECTIONS[section]
    properties = config_schema()["$defs"][model.__name__]["properties"]
    default = properties[name].get("default")
    shown = (
        f"[{', '.join(default)}]"
        if isinstance(default, list)
        else {None: "–", False: "false"}.get(default, default)
    )
    shown = "**required**" if model.model_fields[name].is_required() else shown

    assert TABLE[key][0].strip("`") == str(shown)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_documentation_has_the_command(words: tuple[str, ...]):
    assert f"\n## {' '.join(words)}\n" in DOCS["commands.md"]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_command_explains_itself_and_its_options(words: tuple[str, ...]):
    command = COMMANDS[words]

    assert command.help
    assert [p.name for p in command.params if not p.help and p.param_type_name == "option"] == []


@pytest.mark.parametrize("typed", _typed(), ids=" ".join)
def test_what_the_documentation_types_is_a_command_with_such_options(typed: list[str]):
    words = typed[2:] if typed[0] == "--config" else typed
    command = COMMANDS.get(tuple(words[:2])) or COMMANDS.get((words[0],))
    known = (
        {option for parameter in command.params for option in parameter.opts} if command else set()
    )

    assert command is not None
    assert [word for word in words if word.startswith("-") and word not in known] == []


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_readme_begins_with_the_two_commands_that_need_no_reading(target: str):
    assert f"make {target}" in README.split("## ")[1]


def test_every_file_that_the_readme_links_is_there():
    links = re.findall(r"\]\(([^)#:]+)\)", README)

    assert [link for link in links if not (ROOT / link).exists()] == []
