"""Everything a run needs, looked at one by one, each with its mend. Nothing is sent or changed."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from os import W_OK, access
from pathlib import Path

from cdc_sync.capture.page import Capture
from cdc_sync.clock import utc_now
from cdc_sync.config.later import without_effect
from cdc_sync.config.model import Config
from cdc_sync.config.units import format_duration
from cdc_sync.config.urls import masked
from cdc_sync.counting import counted
from cdc_sync.customergauge.probe import unreachable_because
from cdc_sync.customergauge.token_request import request_token
from cdc_sync.errors import CdcSyncError
from cdc_sync.planning import open_for_plan
from cdc_sync.rules.watermark import Horizon, Remembered
from cdc_sync.source.reader import Scan
from cdc_sync.state.database import open_memory, state_file
from cdc_sync.sync import capture_of

SAMPLE_ROWS = 100
SKEW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. A mend beside `ok` is advice."""

    name: str
    ok: bool
    says: str
    mend: str | None = None


def check(config: Config, path: Path) -> list[Finding]:
    """Looks at everything, in the order in which a run needs it."""
    findings = [_config(config, path)]
    findings += _guarded("source", lambda: _source(config))
    findings += _guarded("state", lambda: _state(config))
    findings += _guarded("token", lambda: _token(config))
    findings += _guarded("API", lambda: _api(config))
    return findings


def _config(config: Config, path: Path) -> Finding:
    keys = without_effect(config)
    mend = f"Without effect in this version: {', '.join(keys)}." if keys else None
    return Finding("config", ok=True, says=str(path), mend=mend)


def _guarded(name: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except CdcSyncError as error:
        yield Finding(name, ok=False, says=error.what, mend=error.mend)


def _source(config: Config) -> Iterator[Finding]:
    capture = capture_of(config, open_memory())  # the source is looked at whatever the state is
    with closing(capture.source), capture.source.scan() as scan:
        rows = scan.count_from(None)
        # Of SQLite's four slashes one is the file's own.
        address = masked(config.source.url.get_secret_value()).partition("://")[2].removeprefix("/")
        where = f"{scan.server()} at {address}, {config.source.table or 'the query'}"
        yield Finding("source", ok=True, says=f"{where}: {counted(rows, 'row')} in scope")
        yield _mapping(capture, scan)
        yield from _watermark(config, scan)
        skew = abs(scan.horizon(Remembered(), utc_now()).clock - utc_now())
        if skew > SKEW:
            says = f"the source's clock is {skew.total_seconds():.0f} s off ours"
            yield Finding("clock", ok=True, says=says, mend="Let both follow an NTP server.")


def _mapping(capture: Capture, scan: Scan) -> Finding:
    map_row = capture.mapper(scan.zone)
    mapped = [map_row(row) for row in scan.full_page(None).rows[:SAMPLE_ROWS]]
    invalid = [seen for seen in mapped if seen.problems]
    give = "gives" if len(mapped) == 1 else "give"
    valid = counted(len(mapped) - len(invalid), "valid payload")
    says = f"the first {counted(len(mapped), 'row')} {give} {valid}" if mapped else "no row to try"
    if not invalid:
        return Finding("mapping", ok=True, says=says)
    first = invalid[0]
    reasons = "; ".join(f"{p.field}: {p.message}" for p in first.problems)
    ok = len(invalid) < len(mapped)
    return Finding(
        "mapping", ok=ok, says=says, mend=f"The first that does not, {first.source_id}: {reasons}"
    )


def _watermark(config: Config, scan: Scan) -> Iterator[Finding]:
    if nulls := scan.count_null_watermarks():
        yield Finding(
            "watermark",
            ok=True,
            says=f"{config.source.watermark} is NULL in {counted(nulls, 'row')}:"
            " only a reconcile sees such",
            mend=f"Fill {config.source.watermark} with every change.",
        )
    if ids := scan.count_null_ids():
        yield Finding(
            "id",
            ok=True,
            says=f"left out for a NULL in the id: {counted(ids, 'row')}",
            mend="Give `source.id` columns that are never NULL.",
        )
    names = ", ".join([config.source.watermark, *config.source.id])
    if statement := scan.missing_index():
        says = f"none on ({names}): each poll reads the whole table"
        yield Finding("index", ok=True, says=says, mend=statement)
    yield _horizon(config, scan.horizon(Remembered(), utc_now()))


def _horizon(config: Config, horizon: Horizon) -> Finding:
    if horizon.reason is not None:
        says = f"{horizon.basis} of {_written(config.source.lookback)} in force: {horizon.reason}"
        return Finding("horizon", ok=True, says=says, mend=horizon.mend)
    says = "in force: unfinished transactions are seen"
    if horizon.held_back_by:
        says += f"; held back by {horizon.held_back_by}"
    return Finding("horizon", ok=True, says=says)


def _written(lookback: timedelta | int) -> str:
    return str(lookback) if isinstance(lookback, int) else format_duration(lookback)


def _state(config: Config) -> Iterator[Finding]:
    url = config.state.url.get_secret_value()
    file = state_file(url)
    with open_for_plan(config) as capture:
        name = str(file) if file is not None else masked(url)
        new = file is not None and capture.state.file is None
        if new and file is not None:
            yield from _can_be_made(file)
        else:
            yield Finding("state", ok=True, says=name)


def _can_be_made(file: Path) -> Iterator[Finding]:
    folder = next(parent for parent in file.parents if parent.exists())
    if folder.is_dir() and access(folder, W_OK):
        yield Finding("state", ok=True, says=f"{file} (new)")
    else:
        why = "not writable" if folder.is_dir() else "not a folder"
        says = f"{file} cannot be made: {folder} is {why}"
        mend = "Give it to the user that runs cdc-sync, or change `state.url`."
        yield Finding("state", ok=False, says=says, mend=mend)


def _token(config: Config) -> Iterator[Finding]:
    # Asked for anew, for a cached one would hide that the secret is wrong.
    issued = request_token(config.customergauge, utc_now())
    minutes = f", valid {issued.expires_in / 60:.0f} min" if issued.expires_in else ""
    yield Finding("token", ok=True, says=f"obtained{minutes}")


def _api(config: Config) -> Iterator[Finding]:
    why = unreachable_because(config.customergauge)
    address = config.customergauge.imports_url
    if why is None:
        yield Finding("API", ok=True, says=f"{address} answers")
    else:
        mend = "Check `customergauge.region` or `base_url`, and the way out."
        yield Finding("API", ok=False, says=f"{address} cannot be reached ({why})", mend=mend)
