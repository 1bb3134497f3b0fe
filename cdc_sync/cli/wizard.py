"""The questions of `init`: from a source's URL to every answer that a configuration needs."""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import typer
from sqlalchemy.engine import URL

from cdc_sync.cli.output import table
from cdc_sync.config.fields import check_time_zone
from cdc_sync.config.model import Config
from cdc_sync.config.template import template_columns
from cdc_sync.contract import Mapped, fields_of
from cdc_sync.errors import CdcSyncError, SourceUnavailable, UserMistake
from cdc_sync.rules.mapping import compile_mapping, mapped_fields
from cdc_sync.setup import files
from cdc_sync.setup.files import PASSWORD, SECRET, Answers, Place
from cdc_sync.setup.guess import (
    Proposal,
    looks_like_contracts,
    propose,
    rank_proposals,
    suggest_reference,
)
from cdc_sync.source.inspection import CatalogTable, open_catalog
from cdc_sync.source.reader import Source
from cdc_sync.wording import format_count, format_problems, value_or_dash

REGIONS = ("eu", "us", "au")
SAMPLES = 3
LISTED = 12  # tables; the others can be named
LEAVE_ALONE = "leave alone"
FIELDS = ("account", "start", "end", "description")
_LATER = "later"  # rows can be read without a client
RowCount = tuple[int | None, bool]  #: None: it cannot be counted; whether it is exact
Templates = Mapping[str, str | None]  #: of some fields; None leaves a field alone
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Catalog:
    """The source's tables by name, those that may hold contracts in order, and their rows.

    `no_horizon` are those without a horizon, whatever the reader may see. `odd_zone` is the
    source's own zone where its name is none that the world knows.
    """

    tables: Mapping[str, CatalogTable]
    proposals: Sequence[Proposal]
    rows: Sequence[RowCount]
    no_horizon: Collection[str]
    odd_zone: str | None


@dataclass(frozen=True, slots=True)
class Prompter:
    """Asks for what no option says; `flags` are the options without dashes, None if not given."""

    flags: Mapping[str, str | None]
    terminal: bool

    def given(self, *flags: str) -> bool:
        """Returns whether every one of these options was given."""
        return all(self.flags[flag] is not None for flag in flags)

    def answer(
        self, flag: str, question: str, default: str | None = None, *, secret: bool = False
    ) -> str:
        """Returns what the option says, else what a person types, else the default.

        A `secret` is in the file that the option names, or typed without an echo. Raises
        UserMistake where there is no answer and nobody can be asked.
        """
        if (given := self.flags[flag]) is not None:
            return _read_secret(given, flag) if secret else given
        if self.terminal:
            return self.prompt(question, default, secret=secret)
        if default is None:
            raise missing_options([flag])
        return default

    def prompt(self, question: str, default: str | None, *, secret: bool = False) -> str:
        """Returns what a person types, else the default, which the question shows."""
        typed: str = typer.prompt(
            question, default=default, hide_input=secret, show_default=bool(default)
        )
        return typed if secret else typed.strip()

    def ask(
        self, flag: str, question: str, check: Callable[[str], T], default: str | None = None
    ) -> T:
        """Returns the checked answer; a person is asked until `check` takes it."""
        return self.retry(lambda: check(self.answer(flag, question, default)), flag)

    def retry(self, attempt: Callable[[], T], *flags: str) -> T:
        """Tries again where a person can answer better; an option gets no second chance."""
        while True:
            try:
                return attempt()
            except CdcSyncError as error:
                if not self.terminal or any(map(self.given, flags)):
                    raise
                print(f"  {error}")


def run(prompter: Prompter, place: Place, *, force: bool) -> Answers:
    """Returns every answer. Raises UserMistake where one is missing and nobody can be asked."""
    _expect_answers(prompter)
    _expect_writable(prompter, place, force=force)
    source, catalog = prompter.retry(lambda: _ask_source(prompter), "source-url")
    table = _ask_table(prompter, catalog)
    guess = propose(table)
    answers = Answers(
        source=source,
        table=table.name,
        id=_ask_columns(prompter, "id", table, guess.id),
        watermark=_ask_columns(
            prompter, "watermark", table, (guess.watermark,) if guess.watermark else None
        )[0],
        time_zone=ask_time_zone(prompter, catalog.odd_zone),
        mapping={"reference": "{any}", "account": "any", "start": "any"},
        customergauge={"region": REGIONS[0], "client_id": _LATER, **_urls(prompter)},
        client_secret=_LATER,
        state_url=prompter.flags["state-url"] or place.state_url,
    )
    files.config_from(answers)  # a mistake in an option is reported before further questions
    answers = replace(answers, mapping=_ask_mapping(prompter, answers, guess, table))
    return _ask_client(prompter, answers)


def _expect_answers(prompter: Prompter) -> None:
    """Names every missing option at once where there is no terminal."""
    platform = [] if prompter.given("base-url", "token-url") else ["region"]
    needed = ["source-url", *platform, "client-id", "client-secret-file"]
    missing = [flag for flag in needed if not prompter.given(flag)]
    if missing and not prompter.terminal:
        raise missing_options(missing)


def _expect_writable(prompter: Prompter, place: Place, *, force: bool) -> None:
    """Raises UserMistake, before the first question, where the files cannot be written."""
    files.expect_writable(place.folder)
    if not force:
        typed = {"client-secret-file": SECRET, "source-password-file": PASSWORD}
        secrets = [place.secret(name) for flag, name in typed.items() if not prompter.given(flag)]
        files.refuse_existing(place.config, *secrets)


def _ask_source(prompter: Prompter) -> tuple[URL, Catalog]:
    address = files.parse_source_url(prompter.answer("source-url", "Source database URL"))
    if prompter.given("source-password-file") and (address.password or not address.username):
        why = "has a password, too" if address.password else "names no user who could have it"
        raise UserMistake(
            f"--source-password-file is given, and the URL of the source {why}.",
            hint="Leave one of the two out.",
        )
    if address.username and not address.password:
        question = f"Password for {address.username}"
        password = prompter.answer("source-password-file", question, "", secret=True)
        address = address.set(password=password or None)
    try:
        return address, _read_catalog(address)
    except SourceUnavailable as error:
        if prompter.terminal or address.password or not address.username:
            raise
        hint = "Where that is for want of a password: --source-password-file."
        raise UserMistake(error.message, hint=hint) from error


def _read_catalog(address: URL) -> Catalog:
    with open_catalog(address.render_as_string(hide_password=False)) as catalog:
        tables = {table.name: table for table in catalog.tables()}
        proposals = rank_proposals(map(propose, tables.values()))
        rows = [
            (None, False) if one.is_view else catalog.rows(one.table) for one in proposals[:LISTED]
        ]
        no_horizon = [
            one.table for one in proposals[:LISTED] if catalog.reads_external_data(one.table)
        ]
        return Catalog(tables, proposals, rows, no_horizon, catalog.odd_zone)


def _ask_table(prompter: Prompter, catalog: Catalog) -> CatalogTable:
    if not prompter.given("table"):
        print("Tables with a key and a time column:")
        print(list_tables(catalog.proposals, catalog.rows, catalog.no_horizon))
    best = [one for one in catalog.proposals if looks_like_contracts(one)]
    if not prompter.terminal and not prompter.given("table") and len(best) != 1:
        raise missing_options(["table"])

    def find(answer: str) -> CatalogTable:
        name = choose_table(answer, catalog.proposals)
        if name not in catalog.tables:
            names = ", ".join(sorted(catalog.tables)[:LISTED]) or "none that this user may see"
            raise UserMistake(f"There is no table {name}.", hint=f"There are: {names}")
        return catalog.tables[name]

    return prompter.ask("table", "Table", find, "1" if catalog.proposals else None)


_COLUMN_QUESTIONS = {
    "id": "Key: the columns that are unique together",
    "watermark": "Watermark: a column that grows with every change",
}


def _ask_columns(
    prompter: Prompter, flag: str, table: CatalogTable, guess: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Returns the columns of the key, or of the watermark; asks where there is no guess."""
    if guess is not None and not prompter.given(flag):
        return guess

    def split(answer: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in answer.split(","))
        check_columns({f"--{flag}": f"{{{name}}}" for name in names}, _names(table))
        return names

    return prompter.ask(flag, _COLUMN_QUESTIONS[flag], split)


def ask_time_zone(prompter: Prompter, odd_zone: str | None) -> str | None:
    """Returns the option's zone; asks where the source has one that the world does not know."""
    if odd_zone is None:
        return prompter.flags["time-zone"]

    def check(answer: str) -> str:
        try:
            return check_time_zone(answer)
        except ValueError as error:
            raise UserMistake(str(error)) from None

    which = f"which calls it {odd_zone}" if odd_zone else "which does not tell it"
    question = f"Time zone of the source, {which} (as in: Europe/Berlin)"
    return prompter.ask("time-zone", question, check)


def _ask_mapping(
    prompter: Prompter, answers: Answers, guess: Proposal, table: CatalogTable
) -> dict[str, str]:
    """Returns the templates, once the first rows were shown as they would be sent."""

    def check_reference(template: str) -> str:
        check_columns({"reference": template}, _names(table))
        return template

    question = "Reference: a prefix keeps two systems apart  "
    database = Path(answers.source.database or "").stem
    default = suggest_reference(database, answers.id)
    reference = prompter.ask("reference", question, check_reference, default)
    flags = prompter.flags
    guesses = {
        field: getattr(guess, field) if flags[field] is None else template_of(flags[field] or "")
        for field in FIELDS
    }

    def attempt() -> dict[str, str]:
        fields: Templates = guesses
        if prompter.terminal and not prompter.given("account", "start"):
            fields = parse_mapping(prompter.prompt(mapping_question(guesses), ""), guesses)
        check_columns(fields, _names(table))
        if missing := [field for field in ("account", "start") if not fields[field]]:
            if not prompter.terminal:
                raise missing_options(missing)
            raise UserMistake(f"A contract needs {' and '.join(missing)}: name the column.")
        used = {field: template for field, template in fields.items() if template}
        mapping = {"reference": reference, **used}
        _show_samples(prompter, replace(answers, mapping=mapping))
        return mapping

    return prompter.retry(attempt, "account", "start")


def _show_samples(prompter: Prompter, answers: Answers) -> None:
    rows = _first_rows(files.config_from(answers), SAMPLES)
    print(describe_samples(rows))
    if rows and prompter.terminal and all(row.problems for row in rows):
        raise UserMistake(
            "None of these is a contract that CustomerGauge takes.",
            hint="Name other columns, as in: start=signed_on",
        )


def _first_rows(config: Config, count: int) -> list[Mapped]:
    """Returns the first rows as they would be sent. Raises SourceUnavailable, SourceMistake."""
    few = config.source.model_copy(update={"page_size": count})
    source = Source(few, mapped_fields(config.mapping))
    with closing(source), source.scan() as scan:
        map_row = compile_mapping(
            config.mapping, zone=scan.zone, clear_end_with=config.customergauge.clear_end_with
        )
        return [map_row(row) for row in scan.full_page(None).rows]


def _ask_client(prompter: Prompter, answers: Answers) -> Answers:
    client = _urls(prompter)
    if not prompter.given("base-url", "token-url"):
        question = f"CustomerGauge region ({', '.join(REGIONS)})"
        client["region"] = prompter.ask("region", question, _check_region, REGIONS[0])
    client["client_id"] = prompter.answer("client-id", "Client id")
    secret = prompter.answer("client-secret-file", "Client secret", secret=True)
    if not secret:
        raise UserMistake("The client secret is empty.", hint="Look at --client-secret-file.")
    return replace(answers, customergauge=client, client_secret=secret)


def _urls(prompter: Prompter) -> dict[str, str]:
    keys = {"base_url": prompter.flags["base-url"], "token_url": prompter.flags["token-url"]}
    return {key: url for key, url in keys.items() if url is not None}


def _check_region(answer: str) -> str:
    region = answer.lower()
    if region not in REGIONS:
        raise UserMistake(
            f"There is no region {region}.",
            hint=f"There are {', '.join(REGIONS)}. Or else: --base-url and --token-url.",
        )
    return region


def _names(table: CatalogTable) -> list[str]:
    return [column.name for column in table.columns]


def list_tables(
    proposals: Sequence[Proposal], rows: Sequence[RowCount], no_horizon: Collection[str] = ()
) -> str:
    """Returns the tables that have a row count, numbered from 1, the likeliest first.

    Those in `no_horizon` are marked, because polls do not see what is committed late in them.
    """
    lines = [
        (
            str(number),
            one.table,
            "a view" if one.is_view else _describe_count(*count),
            ", ".join([*(one.id or ()), one.watermark or ""])
            + f" {_describe_index(one, no_horizon)}",
            "← looks right" if number == 1 and looks_like_contracts(one) else "",
        )
        for number, (one, count) in enumerate(zip(proposals, rows, strict=False), 1)
    ]
    more = len(proposals) - len(lines)
    rest = f"\n  … and {more:,} more; the name of any table will do" if more else ""
    return (table(lines) if lines else "  none; the name of any table or view will do") + rest


def _describe_count(count: int | None, is_exact: bool) -> str:  # noqa: FBT001
    if count is None:
        return "cannot be counted"
    return format_count(count, "row") if is_exact else f"about {format_count(count, 'row')}"


def _describe_index(one: Proposal, no_horizon: Collection[str]) -> str:
    index = "indexed" if one.indexed else "" if one.is_view or one.indexed is None else "no index"
    notes = [note for note in (index, "no horizon" if one.table in no_horizon else "") if note]
    return f"({', '.join(notes)})" if notes else ""


def choose_table(answer: str, proposals: Sequence[Proposal]) -> str:
    """Returns the name of the table that a number, or a name, stands for."""
    number = int(answer) if answer.isdecimal() else 0
    return proposals[number - 1].table if 0 < number <= len(proposals) else answer


def mapping_question(guesses: Templates) -> str:
    """Returns one question for the four fields, each with its guess."""
    optional = ("end", "description")
    parts = (
        f"{field} [{guesses[field] or (LEAVE_ALONE if field in optional else '?')}]"
        for field in FIELDS
    )
    text = ", ".join(parts)
    return text[0].upper() + text[1:]


def parse_mapping(answer: str, guesses: Templates) -> Templates:
    """Returns the guesses as the answer changes them: `field=column`, or columns in order.

    Raises UserMistake for more of them than there are fields.
    """
    parts = [part.strip() for part in answer.split(",")]
    named = [part.partition("=") for part in parts if "=" in part]
    if named:
        templates = {name.strip().lower(): template_of(value) for name, _, value in named}
        if not templates.keys() <= set(FIELDS) or len(named) < len(parts):
            raise UserMistake(f"Write field=column with one of {', '.join(FIELDS)} each time.")
        return {**guesses, **templates}
    if len(parts) > len(FIELDS):
        raise UserMistake("These are more than four; write field=column for some of them.")
    ordered = zip(FIELDS, parts, strict=False)
    return {**guesses, **{field: template_of(part) for field, part in ordered if part}}


def template_of(text: str) -> str | None:
    """Returns a field's template; None for what leaves the field alone."""
    text = text.strip()
    return None if text in ("", "-", LEAVE_ALONE) else text


def check_columns(templates: Templates, columns: Sequence[str]) -> None:
    """Raises UserMistake for a template with a column that the table has not."""
    for key, template in templates.items():
        try:
            named = template_columns(template) if template else ()
        except ValueError as error:
            raise UserMistake(f"{key} {error}") from None
        for name in named:
            if name not in columns:
                raise UserMistake(
                    f"There is no column {name} for {key}.",
                    hint=f"There are: {', '.join(columns)}",
                )


def describe_samples(rows: Sequence[Mapped]) -> str:
    """Returns the first rows as payloads, or as what is wrong with them."""
    return table([_describe_sample(row) for row in rows]) if rows else "  (no row yet)"


def _describe_sample(row: Mapped) -> tuple[str, ...]:
    fields = fields_of(row.payload)
    reference, account = row.reference or row.source_id, value_or_dash(fields.get("account"))
    if row.problems:
        return reference, account, format_problems(row.problems)
    dates = f"{fields.get('start')} … {fields.get('end') or 'open'}"
    description = fields.get("description")
    return reference, account, f"{dates}  {description}" if description else dates


def missing_options(flags: Sequence[str]) -> UserMistake:
    """Returns the mistake that these options are missing and nobody can be asked."""
    named = ", ".join(f"--{flag}" for flag in flags)
    return UserMistake(
        "This asks for what no option says, and there is no terminal.", hint=f"Add {named}."
    )


def _read_secret(file: str, flag: str) -> str:
    try:
        text = sys.stdin.readline() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserMistake(
            f"{file} cannot be read ({why}).", hint=f"Correct the path in --{flag}."
        ) from None
    return text.removesuffix("\n").removesuffix("\r")
