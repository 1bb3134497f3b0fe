"""The conversation of `init`: from a source's URL to every answer that a configuration needs."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import typer

from cdc_sync.cli.output import shown, table
from cdc_sync.config.fields import check_time_zone
from cdc_sync.config.template import template_columns
from cdc_sync.contract import Mapped, fields_of
from cdc_sync.errors import CdcSyncError, SourceUnavailable, UserMistake
from cdc_sync.setup.files import (
    PASSWORD,
    SECRET,
    Answers,
    Place,
    SourceAddress,
    config_from,
    expect_writable,
    first_rows,
    refuse_existing,
    source_address,
)
from cdc_sync.setup.guess import (
    Proposal,
    looks_like_contracts,
    propose,
    rank_proposals,
    suggest_reference,
)
from cdc_sync.source.inspection import CatalogTable, open_catalog
from cdc_sync.wording import format_count, format_problems, value_or_dash

REGIONS = ("eu", "us", "au")
SAMPLES = 3
_LATER = "later"  # rows can be looked at without a client
LISTED = 12  # tables; the others can be named
ALONE = "leave alone"
FIELDS = ("account", "start", "end", "description")
Rows = tuple[int | None, bool]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seen:
    """What the source has: tables by name, the likely ones in order, their rows, an odd zone."""

    tables: Mapping[str, CatalogTable]
    likely: Sequence[Proposal]
    rows: Sequence[Rows]
    odd_zone: str | None


@dataclass(frozen=True, slots=True)
class Asker:
    """Who answers; `flags` are the options by name without dashes, None where not given."""

    flags: Mapping[str, str | None]
    terminal: bool

    def given(self, *flags: str) -> bool:
        """Whether every one of these options was given."""
        return all(self.flags[flag] is not None for flag in flags)

    def ask(self, flag: str, question: str, default: str | None = None) -> str:
        """The answer. Raises UserMistake where there is none and nobody can be asked."""
        if (given := self.flags[flag]) is not None:
            return given
        if not self.terminal and default is None:
            raise nobody_to_ask([flag])
        return self.prompt(question, default) if self.terminal else str(default)

    def prompt(self, question: str, default: str | None = None) -> str:
        """A person's answer; without one the default, which the question shows."""
        answer: str = typer.prompt(question, default=default, show_default=bool(default))
        return answer.strip()

    def secret(self, flag: str, question: str, default: str | None = None) -> str:
        """A secret: the content of the file that a flag names, else typed without an echo."""
        if (file := self.flags[flag]) is not None:
            return _content(file, flag)
        if not self.terminal:
            if default is None:
                raise nobody_to_ask([flag])
            return default
        typed: str = typer.prompt(question, default=default, hide_input=True, show_default=False)
        return typed

    def until(self, attempt: Callable[[], T], *flags: str) -> T:
        """Asks again where a person can answer better; an option gets no second chance."""
        while True:
            try:
                return attempt()
            except CdcSyncError as error:
                if not self.terminal or any(map(self.given, flags)):
                    raise
                print(f"  {error}")


def converse(asker: Asker, place: Place, *, force: bool) -> Answers:
    """Every answer. Raises UserMistake where one is needed and nobody can be asked."""
    _expect_answers(asker)
    _expect_room(asker, place, force=force)
    source, seen = asker.until(lambda: _source(asker, place), "source-url")
    table = asker.until(lambda: _table(asker, seen), "table")
    guess = propose(table)
    key = _columns(asker, "id", "Key: the columns that are unique together", guess.id, table)
    grows = (guess.watermark,) if guess.watermark else None
    question = "Watermark: a column that grows with every change"
    answers = Answers(
        source=source,
        table=table.name,
        id=key,
        watermark=_columns(asker, "watermark", question, grows, table)[0],
        time_zone=_time_zone(asker, seen.odd_zone),
        mapping={"reference": "{any}", "account": "any", "start": "any"},
        customergauge={"region": REGIONS[0], "client_id": _LATER, **_urls(asker)},
        client_secret=_LATER,
        state_url=asker.flags["state-url"] or place.state_url,
    )
    config_from(answers)  # a mistake in an option is told before its time, and only once
    answers = replace(answers, mapping=_mapping(asker, answers, guess, table))
    return _with_client(asker, answers, place)


def _expect_answers(asker: Asker) -> None:
    """Names every missing option at once where there is no terminal."""
    platform = [] if asker.given("base-url", "token-url") else ["region"]
    needed = ["source-url", *platform, "client-id", "client-secret-file"]
    missing = [flag for flag in needed if not asker.given(flag)]
    if missing and not asker.terminal:
        raise nobody_to_ask(missing)


def _expect_room(asker: Asker, place: Place, *, force: bool) -> None:
    """What cannot be written is told before the first question."""
    expect_writable(place.folder)
    if not force:
        asked = {"client-secret-file": SECRET, "source-password-file": PASSWORD}
        secrets = [place.secret(name) for flag, name in asked.items() if not asker.given(flag)]
        refuse_existing(place.config, *secrets)


def _source(asker: Asker, place: Place) -> tuple[SourceAddress, Seen]:
    address = source_address(asker.ask("source-url", "Source database URL"))
    if asker.given("source-password-file") and (address.password or not address.user):
        why = "has a password, too" if address.password else "names no user who could have it"
        raise UserMistake(
            f"--source-password-file is given, and the URL of the source {why}.",
            hint="Leave one of the two out.",
        )
    if address.user and not address.password:
        question = f"Password for {address.user}"
        address = replace(address, password=asker.secret("source-password-file", question, ""))
    if address.password:
        print(f"  → {place.secret(PASSWORD)} (0600)")
    try:
        return address, _look(address)
    except SourceUnavailable as error:
        if asker.terminal or address.password or not address.user:
            raise
        hint = "Where that is for want of a password: --source-password-file."
        raise UserMistake(error.message, hint=hint) from error


def _look(address: SourceAddress) -> Seen:
    with open_catalog(address.with_password) as catalog:
        tables = {table.name: table for table in catalog.tables()}
        likely = rank_proposals(map(propose, tables.values()))
        shown = likely[:LISTED]
        rows = [(None, False) if one.is_view else catalog.rows(one.table) for one in shown]
        return Seen(tables, likely, rows, catalog.odd_zone)


def _table(asker: Asker, seen: Seen) -> CatalogTable:
    if not asker.given("table"):
        print("Tables with a key and a time column:")
        print(listing(seen.likely, seen.rows))
    best = [one for one in seen.likely if looks_like_contracts(one)]
    if not asker.terminal and not asker.given("table") and len(best) != 1:
        raise nobody_to_ask(["table"])
    default = "1" if seen.likely else None
    name = chosen(asker.ask("table", "CatalogTable", default), seen.likely)
    if name not in seen.tables:
        names = ", ".join(sorted(seen.tables)[:LISTED]) or "none that this user may see"
        raise UserMistake(f"There is no table {name}.", hint=f"There are: {names}")
    return seen.tables[name]


def _columns(
    asker: Asker, flag: str, question: str, guess: Sequence[str] | None, table: CatalogTable
) -> tuple[str, ...]:
    """The columns of the key, or of the watermark; asked for where there is no guess."""

    def attempt() -> tuple[str, ...]:
        if guess is not None and not asker.given(flag):
            return tuple(guess)
        names = tuple(name.strip() for name in asker.ask(flag, question).split(","))
        check_columns({f"--{flag}": f"{{{name}}}" for name in names}, _names(table))
        return names

    return asker.until(attempt, flag)


def _time_zone(asker: Asker, odd: str | None) -> str | None:
    """Asked for where the source's name for its own is none that the world knows."""
    if odd is None:
        return asker.flags["time-zone"]
    question = f"Time zone of the source, which calls it {odd} (as in: Europe/Berlin)"

    def attempt() -> str:
        try:
            return check_time_zone(asker.ask("time-zone", question))
        except ValueError as error:
            raise UserMistake(str(error)) from None

    return asker.until(attempt, "time-zone")


def _mapping(
    asker: Asker, answers: Answers, guess: Proposal, table: CatalogTable
) -> dict[str, str]:
    """The templates, after a look at the first rows as they would be sent."""
    default = suggest_reference(answers.source.database, answers.id)
    question = "Reference: a prefix keeps two systems apart  "

    def reference() -> str:
        template = asker.ask("reference", question, default)
        check_columns({"reference": template}, _names(table))
        return template

    first = {"reference": asker.until(reference, "reference")}
    guesses: dict[str, str | None] = {
        field: template_of(given) if (given := asker.flags[field]) is not None else guessed
        for field, guessed in zip(
            FIELDS, (guess.account, guess.start, guess.end, guess.description), strict=True
        )
    }

    def attempt() -> dict[str, str]:
        fields = guesses
        if asker.terminal and not asker.given("account", "start"):
            answer = asker.prompt(mapping_question(guesses), "")
            fields = mapping_answer(answer, guesses)
        check_columns(fields, _names(table))
        if missing := [field for field in ("account", "start") if not fields[field]]:
            if not asker.terminal:
                raise nobody_to_ask(missing)
            raise UserMistake(f"A contract needs {' and '.join(missing)}: name the column.")
        mapping = first | {field: template for field, template in fields.items() if template}
        _show(asker, replace(answers, mapping=mapping))
        return mapping

    return asker.until(attempt, "account", "start")


def _show(asker: Asker, answers: Answers) -> None:
    rows = first_rows(config_from(answers), SAMPLES)
    print(samples(rows))
    if rows and asker.terminal and all(row.problems for row in rows):
        raise UserMistake(
            "None of these is a contract that CustomerGauge takes.",
            hint="Name other columns, as in: start=signed_on",
        )


def _with_client(asker: Asker, answers: Answers, place: Place) -> Answers:
    client = _urls(asker)
    if not asker.given("base-url", "token-url"):
        client["region"] = asker.until(lambda: _region(asker), "region")
    client["client_id"] = asker.ask("client-id", "Client id")
    secret = asker.secret("client-secret-file", "Client secret")
    if not secret:
        raise UserMistake("The client secret is empty.", hint="Look at --client-secret-file.")
    print(f"  → {place.secret(SECRET)} (0600)")
    return replace(answers, customergauge=client, client_secret=secret)


def _urls(asker: Asker) -> dict[str, str]:
    keys = {"base_url": asker.flags["base-url"], "token_url": asker.flags["token-url"]}
    return {key: url for key, url in keys.items() if url is not None}


def _region(asker: Asker) -> str:
    question = f"CustomerGauge region ({', '.join(REGIONS)})"
    region = asker.ask("region", question, REGIONS[0]).lower()
    if region not in REGIONS:
        raise UserMistake(f"There is no region {region}.", hint=f"There are {', '.join(REGIONS)}.")
    return region


def _names(table: CatalogTable) -> list[str]:
    return [column.name for column in table.columns]


def listing(proposals: Sequence[Proposal], rows: Sequence[Rows]) -> str:
    """The tables, numbered from 1, the likeliest first."""
    lines = [
        (
            str(number),
            one.table,
            _rows(count) if not one.is_view else "a view",
            f"{', '.join([*(one.id or ()), one.watermark or ''])} {_index(one)}",
            "← looks right" if number == 1 and looks_like_contracts(one) else "",
        )
        for number, (one, count) in enumerate(zip(proposals, rows, strict=False), 1)
    ]
    more = len(proposals) - len(lines)
    rest = f"\n  … and {more:,} more; the name of any table will do" if more else ""
    return (table(lines) if lines else "  none; the name of any table or view will do") + rest


def chosen(answer: str, proposals: Sequence[Proposal]) -> str:
    """The name of the table that a number, or a name, stands for."""
    number = int(answer) if answer.isdecimal() else 0
    return proposals[number - 1].table if 0 < number <= len(proposals) else answer


def mapping_question(guesses: Mapping[str, str | None]) -> str:
    """One question for the four fields, each with its guess."""
    said = ", ".join(f"{field} [{guesses[field] or _without(field)}]" for field in FIELDS)
    return said[0].upper() + said[1:]


def mapping_answer(answer: str, guesses: Mapping[str, str | None]) -> dict[str, str | None]:
    """What the answer makes of the guesses: `field=column`, or columns in the fields' order.

    Raises UserMistake for more of them than there are fields.
    """
    found = dict(guesses)
    parts = [part.strip() for part in answer.split(",")]
    named = [part.partition("=") for part in parts if "=" in part]
    if named:
        unknown = [name.strip() for name, _, _ in named if name.strip().lower() not in FIELDS]
        if unknown or len(named) < len(parts):
            raise UserMistake(f"Write field=column with one of {', '.join(FIELDS)} each time.")
        return found | {n.strip().lower(): template_of(value) for n, _, value in named}
    if len(parts) > len(FIELDS):
        raise UserMistake("These are more than four; write field=column for some of them.")
    return found | {f: template_of(part) for f, part in zip(FIELDS, parts, strict=False) if part}


def check_columns(templates: Mapping[str, str | None], columns: Sequence[str]) -> None:
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


def samples(rows: Sequence[Mapped]) -> str:
    """The first rows as payloads, or as what is wrong with them."""
    if not rows:
        return "  (no row yet)"
    return table([_sample(row) for row in rows])


def _sample(row: Mapped) -> tuple[str, ...]:
    fields = fields_of(row.payload)
    reference, account = row.reference or row.source_id, value_or_dash(fields.get("account"))
    if row.problems:
        return reference, account, shown(format_problems(row.problems))
    dates = f"{fields.get('start')} … {fields.get('end') or 'open'}"
    description = fields.get("description")
    return reference, account, f"{dates}  {shown(description)}" if description else dates


def _rows(rows: Rows) -> str:
    count, exact = rows
    if count is None:
        return "cannot be counted"
    return format_count(count, "row") if exact else f"about {format_count(count, 'row')}"


def _index(one: Proposal) -> str:
    return "(indexed)" if one.indexed else "" if one.is_view else "(no index)"


def _without(field: str) -> str:
    return ALONE if field in ("end", "description") else "?"


def template_of(text: str) -> str | None:
    """A field's template; None for what leaves the field alone."""
    text = text.strip()
    return None if text in ("", "-", ALONE) else text


def nobody_to_ask(flags: Sequence[str]) -> UserMistake:
    """That options are missing, by their names."""
    named = ", ".join(f"--{flag}" for flag in flags)
    return UserMistake(
        "This asks for what no option says, and there is no terminal.", hint=f"Add {named}."
    )


def _content(file: str, flag: str) -> str:
    try:
        text = sys.stdin.readline() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserMistake(
            f"{file} cannot be read ({why}).", hint=f"Correct the path in --{flag}."
        ) from None
    return text.removesuffix("\n").removesuffix("\r")
