"""What SQLite's watermark column holds: its columns have no type, so that its values tell."""

from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from cdc_sync.errors import SourceMistake
from cdc_sync.rules.watermark import WatermarkType
from cdc_sync.source.columns import WatermarkColumn, is_time, text_form, text_zone
from cdc_sync.source.statements import Statements

_LOOKED_AT = 1000  # a few texts that are no times are the rows' trouble, not the column's


def sniffed(connection: Connection, statements: Statements, zone: ZoneInfo) -> WatermarkColumn:
    """The column by its least and greatest values.

    Raises SourceMistake where they are fractions, and where no text in the column is a time.
    """
    name = statements.watermark.name
    samples = tuple(connection.execute(statements.extremes()).one())
    if any(isinstance(value, float) for value in samples):
        raise SourceMistake(
            f"The column {name} holds fractions; they do not compare safely.",
            mend="Name one in `source.watermark` that holds times or whole numbers.",
        )
    if isinstance(samples[1], int):
        return WatermarkColumn(WatermarkType.INTEGER, zone, zone)
    if isinstance(samples[0], int) and not _has_times(connection, statements):
        # To SQLite every text is above every number: one such row is its own trouble.
        return WatermarkColumn(WatermarkType.INTEGER, zone, zone)
    texts = [value for value in samples if isinstance(value, str)]
    if texts and not any(map(is_time, texts)) and not _has_times(connection, statements):
        raise SourceMistake(
            f"The column {name} holds texts, and none is a time (2026-01-31 12:00:00).",
            mend="Name one in `source.watermark` that grows with every change.",
        )
    return WatermarkColumn(WatermarkType.TIMESTAMP, zone, text_zone(texts, zone), text_form(texts))


def forms(connection: Connection, statements: Statements) -> tuple[str, ...]:
    """A text of each form in which the first rows write their times, and one that is none."""
    values = connection.execute(statements.some_watermarks(_LOOKED_AT)).scalars()
    found: dict[object, str] = {}
    for text in filter(lambda value: isinstance(value, str), values):
        found.setdefault(text_form([text]) if is_time(text) else None, text)
    return tuple(found.values())


def _has_times(connection: Connection, statements: Statements) -> bool:
    values = connection.execute(statements.some_watermarks(_LOOKED_AT)).scalars()
    return any(isinstance(value, str) and is_time(value) for value in values)
