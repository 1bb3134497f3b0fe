"""Why the state does not know a contract: what the source says of its row."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from cdc_sync.config.model import Config
from cdc_sync.contract import WatermarkValue
from cdc_sync.errors import CdcSyncError
from cdc_sync.rules.mapping import mapped_columns
from cdc_sync.rules.watermark import write_watermark
from cdc_sync.source.reader import Source
from cdc_sync.state import watermark
from cdc_sync.state.database import Database


@dataclass(frozen=True, slots=True)
class Found:
    """A row of the source; `value` is None where its watermark is neither a time nor a number."""

    in_scope: bool
    deleted: bool
    is_null: bool
    value: WatermarkValue | None


def why_unknown(state: Database, source_id: str, load: Callable[[], Config]) -> str:
    """The reason in words; that the source cannot be asked is one, too.

    `load` gives a configuration with the source's secrets; it may raise ConfigMistake.
    """
    start = f"The state does not know {source_id}."
    with state.read() as tx:
        known = watermark.read(tx).value
    try:
        config = load()
        found = _look(config, source_id)
    except CdcSyncError as error:
        return f"{start} Why, the source could not be asked: {error}"
    if found is None:
        return f"{start} It is not in the source, either (a reference is known once its row is)."
    return f"{start} {_reason(config, found, known)}"


def _look(config: Config, source_id: str) -> Found | None:
    source = Source(config.source, mapped_columns(config.mapping))
    try:
        with source.scan() as scan:
            found = scan.find(source_id)
            if found is None:
                return None
            row, raw, in_scope = found
            return Found(in_scope, row.gone, raw is None, scan.column.value_of(raw))
    finally:
        source.close()


def _reason(config: Config, found: Found, known: WatermarkValue | None) -> str:
    source, later = config.source, next_reconcile(config.schedule.reconcile)
    written = f"{source.watermark} ({write_watermark(found.value)})"
    if not found.in_scope:
        said = f"The source has it, out of scope: `source.where` ({source.where}) leaves it out."
    elif found.deleted:
        said = f"The source has it, deleted: `source.deleted_when` ({source.deleted_when}) holds."
    elif found.is_null:
        said = (
            f"The source has it: its {source.watermark} is NULL, so no poll sees it; {later} will."
        )
    elif known is None:
        said = "The source has it, and no run has read the whole source yet."
    elif found.value is not None and _is_from(found.value, known):
        said = f"The source has it: its {written} is newer than the last poll; the next reads it."
    else:
        said = (
            f"The source has it: its {written} is before the watermark"
            f" ({write_watermark(known)}), so no poll sees it; {later} will."
        )
    return said


def next_reconcile(schedule: str) -> str:
    """When everything is compared next: the hour of a daily line, else the line itself."""
    if schedule == "never":
        return "a reconcile (none is scheduled: cdc-sync reconcile)"
    minute, hour, *days = (*schedule.split(), "", "")[:5]
    if minute.isdecimal() and hour.isdecimal() and days == ["*", "*", "*"]:
        return f"the next reconcile ({int(hour):02}:{int(minute):02})"
    return f"the next reconcile ({schedule})"


def _is_from(value: WatermarkValue, known: WatermarkValue) -> bool:
    if isinstance(value, datetime) and isinstance(known, datetime):
        return value >= known
    return isinstance(value, int) and isinstance(known, int) and value >= known
