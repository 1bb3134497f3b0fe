"""`alerts test`."""

import typer

from cdc_sync.cli.context import config_of
from cdc_sync.cli.output import Json, emit

app = typer.Typer(name="alerts", help="Whom to tell of a trouble.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `test` a word of its own: typer would leave out that of an only command."""


@app.command("test")
def try_out(context: typer.Context, as_json: Json = False) -> None:
    """Send a test message to each of `alerts.urls`; exit 1 where one did not go."""
    import socket

    from cdc_sync.alerts.notifier import receivers
    from cdc_sync.cli.words import table
    from cdc_sync.errors import UserMistake
    from cdc_sync.log import configure_log
    from cdc_sync.sync import redaction_of

    config = config_of(context)
    configure_log("error", "auto", redaction_of(config))
    there = receivers(config.alerts)
    if not there:
        raise UserMistake("`alerts.urls` is empty: there is nobody to tell.", mend="Add a URL.")
    body = f"This is a test. So you will be told of troubles.\n{socket.gethostname()}"
    failed = {to.name: to.send(None, "cdc-sync: a test", body) for to in there}
    sent = [{"receiver": name, "ok": why is None, "says": why} for name, why in failed.items()]
    rows = [("ok" if why is None else "FAIL", name, why or "sent") for name, why in failed.items()]
    ok = all(why is None for why in failed.values())
    emit({"ok": ok, "receivers": sent}, table(rows), as_json=as_json)
    if not ok:
        raise typer.Exit(1)
