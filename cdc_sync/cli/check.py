"""`check`."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cdc_sync.cli.context import command_with, config_of, config_path
from cdc_sync.cli.output import Json, emit

if TYPE_CHECKING:
    from cdc_sync.check.findings import Finding
    from cdc_sync.config.model import Config


def check(context: typer.Context, as_json: Json = False) -> None:
    """Look at everything that a run needs, one line each, with the mend; sends nothing."""
    report(config_of(context), config_path(context), as_json=as_json)


def report(config: "Config", path: Path, *, as_json: bool) -> None:
    """Prints what was found. Raises typer.Exit where something is wrong."""
    from cdc_sync.check.check import check as look
    from cdc_sync.log import configure_log
    from cdc_sync.sync import redaction_of

    configure_log("error", "auto", redaction_of(config))
    findings = look(config, path)
    ok = all(finding.ok for finding in findings)
    document = {
        "ok": ok,
        "findings": [
            {"name": f.name, "ok": f.ok, "says": f.says, "mend": f.mend} for f in findings
        ],
    }
    emit(document, "\n".join([*map(_line, findings), _end(findings, path, ok=ok)]), as_json=as_json)
    if not ok:
        raise typer.Exit(1)


def _line(finding: "Finding") -> str:
    mark = "WRONG" if not finding.ok else "note" if finding.mend else "ok"
    mend = f"\n                   {finding.mend}" if finding.mend else ""
    return f"  {mark:<6}{finding.name:<11}{finding.says}{mend}"


def _end(findings: list["Finding"], path: Path, *, ok: bool) -> str:
    wrong = sum(not finding.ok for finding in findings)
    if not ok:
        return f"Not ready: {wrong} {'thing is' if wrong == 1 else 'things are'} wrong."
    notes = sum(finding.mend is not None for finding in findings)
    told = f", {notes} {'note' if notes == 1 else 'notes'}" if notes else ""
    return f"Ready{told}. Next: {command_with(path)} plan"
