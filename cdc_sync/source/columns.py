"""The watermark column: its type, its zone, and how a watermark is written in its own form."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import Connection

from cdc_sync.contract import WatermarkValue
from cdc_sync.errors import SourceMistake
from cdc_sync.rules.watermark import WatermarkType
from cdc_sync.source.statements import Statements

_SAMPLED_ROWS = 1000  # a few texts that are no times do not make the column's type


@dataclass(frozen=True, slots=True)
class TextForm:
    """How a SQLite column writes its times: what stands between day and time, and how fine."""

    separator: str
    length: int


@dataclass(frozen=True, slots=True)
class WatermarkColumn:
    """The watermark column: its type, the zone of its times, and how the driver gives them.

    `zone` is the one people write and read its times in; `naive_zone` that of the values that
    come without one (None: they come with one, and instants are sent in `sent_zone`). `form` is set
    where the values are texts.
    """

    type: WatermarkType
    zone: ZoneInfo
    naive_zone: ZoneInfo | None
    form: TextForm | None = None
    sent_zone: tzinfo = UTC

    @property
    def is_in_days(self) -> bool:
        """Whether a bound is the start of a day."""
        return self.type is WatermarkType.DATE or (self.form is not None and self.form.length == 10)

    def value_of(self, raw: object) -> WatermarkValue | None:
        """A value of the column as an instant or a number; None for one that is neither."""
        if isinstance(raw, str):
            raw = parse_time(raw)
        if isinstance(raw, datetime):
            aware = raw if raw.tzinfo else raw.replace(tzinfo=self.naive_zone or self.zone)
            try:
                return aware.astimezone(UTC)
            except OverflowError:
                return None
        if isinstance(raw, date):
            return self.value_of(datetime.combine(raw, time()))
        if isinstance(raw, Decimal):
            return int(raw) if raw.is_finite() else None
        return raw if isinstance(raw, int) else None

    def bound(self, value: WatermarkValue) -> object:
        """The lowest value of the column that may stand for a watermark, in the driver's form.

        Rounded down to whole seconds (a day for a DATE), and where the zone turns its clock back
        to the start of the doubled hour: what is read twice costs nothing, what is passed is lost.
        """
        if isinstance(value, int):
            return value
        whole = value.replace(microsecond=0)
        if self.naive_zone is None:
            return whole.astimezone(self.sent_zone)
        wall = _wall_clock(whole, self.naive_zone)
        if self.form is not None:
            return wall.isoformat(sep=self.form.separator)[: self.form.length]
        return wall.date() if self.type is WatermarkType.DATE else wall


def zone_of(name: str, configured: str | None) -> ZoneInfo:
    """Returns the zone of times without one: `source.time_zone`, else the source's own.

    Raises SourceMistake where that has no IANA name.
    """
    if not name and not configured:
        raise SourceMistake(
            "The source does not tell its time zone.",
            hint="Set `source.time_zone`, as in: Europe/Berlin",
        )
    try:
        return ZoneInfo(configured or ("UTC" if name in ("+00:00", "GMT") else name))
    except (ZoneInfoNotFoundError, ValueError):
        raise SourceMistake(
            f"The source calls its time zone {name!r}, which is not an IANA name.",
            hint="Set `source.time_zone`, as in: Europe/Berlin",
        ) from None


def detect_watermark_column(
    connection: Connection, statements: Statements, zone: ZoneInfo
) -> WatermarkColumn:
    """Returns what a watermark column without a type holds, by its least and greatest values.

    Raises SourceMistake where they are fractions, and where no text in the column is a time.
    """
    name = statements.watermark.name
    samples = tuple(connection.execute(statements.extremes()).one())
    if any(isinstance(value, float) for value in samples):
        raise SourceMistake(
            f"The column {name} holds fractions; they do not compare safely.",
            hint="Name one in `source.watermark` that holds times or whole numbers.",
        )
    least, greatest = samples
    # To SQLite every text is above every number: one such row does not make the column's type.
    if isinstance(greatest, int) or (
        isinstance(least, int) and not _has_times(connection, statements)
    ):
        return WatermarkColumn(WatermarkType.INTEGER, zone, zone)
    texts = [value for value in samples if isinstance(value, str)]
    if texts and not any(map(parse_time, texts)) and not _has_times(connection, statements):
        raise SourceMistake(
            f"The column {name} holds texts, and none is a time (2026-01-31 12:00:00).",
            hint="Name one in `source.watermark` that grows with every change.",
        )
    return WatermarkColumn(WatermarkType.TIMESTAMP, zone, text_zone(texts, zone), text_form(texts))


def written_forms(connection: Connection, statements: Statements) -> tuple[str, ...]:
    """Returns a text of each form in which the first rows write times, and one that is no time."""
    found: dict[object, str] = {}
    for text in _texts(connection, statements):
        found.setdefault(text_form([text]) if parse_time(text) else None, text)
    return tuple(found.values())


def _has_times(connection: Connection, statements: Statements) -> bool:
    return any(map(parse_time, _texts(connection, statements)))


def _texts(connection: Connection, statements: Statements) -> list[str]:
    values = connection.execute(statements.some_watermarks(_SAMPLED_ROWS)).scalars()
    return [value for value in values if isinstance(value, str)]


def text_form(samples: Sequence[str]) -> TextForm:
    """The form that makes a bound sort at or below every text written like the samples."""
    full = "2026-01-01 00:00:00"
    separator = "T" if samples and all(text[10:11] == "T" for text in samples) else " "
    shortest = min((len(text.strip()) for text in samples), default=len(full))
    return TextForm(separator, 10 if shortest < 16 else 16 if shortest < 19 else 19)


def text_zone(samples: Sequence[str], zone: ZoneInfo) -> ZoneInfo:
    """The zone in which a bound sorts at or below every text written like the samples.

    That of times without one is `zone`. Texts with offsets of their own do not sort by instant:
    the westernmost zone is below them all, and half a day is read again.
    """
    times = [time for time in map(parse_time, samples) if time]
    if not times or any(time.tzinfo is None for time in times):
        return zone
    in_utc = all(time.utcoffset() == timedelta() for time in times)
    return ZoneInfo("UTC" if in_utc else "Etc/GMT+12")


def parse_time(text: str) -> datetime | None:
    """Returns a text as a time, as SQLite's columns hold them; None where it is none."""
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        return None


def _wall_clock(instant: datetime, zone: ZoneInfo) -> datetime:
    wall = instant.astimezone(zone).replace(tzinfo=None, fold=0)
    if not _is_doubled(wall, zone):
        return wall
    minute = wall.replace(second=0)
    while _is_doubled(before := minute - timedelta(minutes=1), zone):
        minute = before
    return minute


def _is_doubled(wall: datetime, zone: ZoneInfo) -> bool:
    """Whether the zone shows this wall-clock time twice (it turns its clock back)."""
    first = wall.replace(tzinfo=zone, fold=0).utcoffset() or timedelta()
    second = wall.replace(tzinfo=zone, fold=1).utcoffset() or timedelta()
    return first > second
