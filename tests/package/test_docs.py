"""docs/ and README cannot lie: pages that are made, links, commands, configurations, messages."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from cdc_sync.config.load import load_config
from docs.generate import command_line, leaves, pages

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = dict(leaves(command_line()))
ROOT_OPTIONS = {option for parameter in command_line().params for option in parameter.opts}
OTHER_YAML = {"scrape_configs", "groups"}
# In transcripts: a made-up contract, Apprise's message, and a sentence that is put together.
OTHERS_WORDS = """\
Delacroix Bearings plc
A Connection error occurred sending JSON notification to
references would be imported
"""
COMPLETE = {
    "source": {
        "url": "postgresql+psycopg://reader@db.example.com/erp",
        "id": "id",
        "watermark": "updated_at",
    },
    "mapping": {"reference": "erp-{id}", "account": "account", "start": "start"},
    "customergauge": {"region": "eu", "client_id": "id", "client_secret": "secret"},
}

pytestmark = pytest.mark.quick


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _short(shown: object) -> str:
    """The id of a parameter: a page by its name, a text by its beginning."""
    return _name(shown) if isinstance(shown, Path) else " ".join(str(shown).split())[:40]


def _blocks(page: Path, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def _prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", list(pages()), ids=_name)
def test_a_page_of_the_programs_own_words_is_fresh(page: Path) -> None:
    assert page.read_text() == pages()[page], "run: make docs"


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    heads = re.findall(r"^#+ (.*)$", _prose(page), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", head.lower()) for head in heads]
    return {text.replace(" ", "-") for text in plain}


def _links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
            if "://" not in link:
                yield page, link


@pytest.mark.parametrize(("page", "link"), list(_links()), ids=_short)
def test_a_link_leads_somewhere(page: Path, link: str) -> None:
    file, _, anchor = link.partition("#")
    target = (page.parent / file).resolve() if file else page

    assert target.exists()
    assert not anchor or anchor in _anchors(target)


def _typed() -> Iterator[tuple[str, ...]]:
    """The words of every cdc-sync command that a console or a sentence has."""
    for page in PAGES:
        consoles = "".join(_blocks(page, "console"))
        lines = re.findall(r"^\$ (?:sudo )?(cdc-sync .*)$", consoles, re.MULTILINE)
        inline = re.findall(r"`(cdc-sync [a-z-][^`…]*?)…?`", _prose(page))
        for line in (*lines, *inline):
            yield tuple(shlex.split(" ".join(line.split()).split("  #")[0]))


@pytest.mark.parametrize("typed", sorted(set(_typed())), ids=" ".join)
def test_a_command_that_is_shown_is_there_with_its_options(typed: tuple[str, ...]) -> None:
    words = typed[3:] if typed[1] == "--config" else typed[1:]
    given = {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"}
    if words[0].startswith("-"):
        assert given <= ROOT_OPTIONS
        return
    command = COMMANDS.get(words[:2]) or COMMANDS.get(words[:1])

    assert command is not None
    assert given <= {option for one in command.params for option in one.opts}


def _configurations() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for block in _blocks(page, "yaml"):
            if not OTHER_YAML & set(YAML(typ="safe").load(block)):
                yield page, block


@pytest.mark.parametrize(("page", "block"), list(_configurations()), ids=_short)
def test_a_configuration_that_is_shown_is_valid(page: Path, block: str, tmp_path: Path) -> None:
    shown = YAML(typ="safe").load(block)
    names = {*COMPLETE, *shown}
    whole = {name: {**COMPLETE.get(name, {}), **shown.get(name, {})} for name in names}
    if not {"table", "query"} & set(whole["source"]):
        whole["source"]["table"] = "contracts"
    for secret in re.findall(r"/(\w+)\}", block):
        (tmp_path / secret).write_text("a secret")
    config = tmp_path / "config.yaml"
    YAML(typ="safe").dump(whole, config)
    variables = dict.fromkeys(re.findall(r"\$\{(\w+)\}", block), "value")

    assert load_config(config, {**variables, "CREDENTIALS_DIRECTORY": str(tmp_path)})


CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w/.]+\.py)`", CONTRIBUTING))))
def test_a_module_that_is_named_to_contributors_is_there(path: str) -> None:
    assert (ROOT / "cdc_sync" / path).is_file() or (ROOT / path).is_file()


def test_the_map_for_contributors_has_every_folder_of_the_package() -> None:
    folders = {path.parent.name for path in (ROOT / "cdc_sync").rglob("__init__.py")}

    assert set(re.findall(r"^ {6,}(\w+)/ ", CONTRIBUTING, re.MULTILINE)) == folders - {"cdc_sync"}


def test_the_map_for_contributors_names_every_module_at_its_folder() -> None:
    folders = re.split(
        r"^ {6,}(\w+)/ ", CONTRIBUTING.partition("## The walk")[0], flags=re.MULTILINE
    )
    drawn = {"cdc_sync": folders[0], **dict(zip(folders[1::2], folders[2::2], strict=True))}
    modules = [path for path in (ROOT / "cdc_sync").rglob("*.py") if not path.name.startswith("_")]

    missing = [
        path.relative_to(ROOT).as_posix()
        for path in modules
        if not re.search(rf"\b{path.stem}\b", drawn[path.parent.name])
    ]
    assert missing == []


@cache
def _said() -> str:
    """Every text of the program, one a line; what is put in stands as an ellipsis."""
    found = []
    for module in sorted((ROOT / "cdc_sync").rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [_literal(part) for part in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"\{\w+\}", "…", node.value))
    return "\n".join(re.sub("…+", "…", text) for text in found)


def _literal(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else "…"


def _messages() -> list[str]:
    """What stands first in each point of the page, before its cause: one message, or several."""
    text = " ".join((ROOT / "docs" / "troubleshooting.md").read_text().splitlines())
    found = []
    for point in re.findall(r" - (`.*?)(?= - `| ## |$)", re.sub(r"\s+", " ", text)):
        quoted = re.match(r"(?:(?:`` .*? ``|`[^`]+`)(?:, | or )?)+", point)
        found += [
            a or b
            for a, b in re.findall(r"`` (.*?) ``|`([^`]+)`", quoted.group() if quoted else "")
        ]
    return found


def test_the_page_of_messages_has_many() -> None:
    assert len(_messages()) > 80


@pytest.mark.parametrize("message", _messages())
def test_a_message_that_is_explained_is_still_said(message: str) -> None:
    assert message in _said()


def _answers() -> Iterator[tuple[str, str]]:
    """The lines with which the consoles answer; beside each what a person typed in its console."""
    for page in PAGES:
        for block in _blocks(page, "console"):
            lines = block.splitlines()
            typed = "\n".join(line for line in lines if line.startswith("$ "))
            yield from ((line, typed) for line in lines if not line.startswith("$ "))


def _triples(line: str) -> Iterator[tuple[str, str, str]]:
    """Every three words that follow each other without a number, a sign or a column between."""
    for phrase in re.split(r"  +|[:;,.()…→=+?\[\]]", line):
        words = phrase.split()
        for triple in zip(words, words[1:], words[2:], strict=False):
            if all(re.fullmatch(r"[A-Za-z][A-Za-z'-]+", word) for word in triple):
                yield triple


def _occurs(triple: tuple[str, str, str], text: str) -> bool:
    """Whether a text has these words; an ellipsis may stand for what is put in."""
    a, b, c = triple
    split = (("", f"… {b} {c}"), (f"{a} … {c}", ""), (f"{a} {b} …", ""), (f"{a} {b}", f"… {c}"))
    return f"{a} {b} {c}" in text or any(x in text and y in text for x, y in split)


@pytest.mark.parametrize(("line", "typed"), sorted(set(_answers())), ids=_short)
def test_a_transcript_has_the_words_of_the_program(line: str, typed: str) -> None:
    text = "\n".join([re.sub('[`"]', "", _said()), OTHERS_WORDS, typed])

    assert [triple for triple in _triples(line) if not _occurs(triple, text)] == []
