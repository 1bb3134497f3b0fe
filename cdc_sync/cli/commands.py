"""Every command, grouped by what one wants to do: the order in which --help shows them."""

import typer

from cdc_sync.cli import (
    alerts,
    check,
    config,
    contracts,
    db,
    demo,
    guard,
    init,
    operate,
    plan,
    references,
    run,
    service,
    status,
    watermark,
)

TRY, SYNC, LOOK, ACT, SET_UP = (
    "Try it",
    "Sync",
    "Look",
    "Act",
    "Set up",
)


def register(app: typer.Typer) -> None:
    """Puts the commands on the application."""
    for panel, functions in (
        (TRY, (demo.demo, demo.sandbox)),
        (SYNC, (init.init, check.check, plan.plan, run.once, run.run, run.reconcile)),
        (LOOK, (status.status,)),
        (ACT, (operate.retry, guard.approve, guard.discard, operate.pause, operate.resume)),
    ):
        for function in functions:
            app.command(rich_help_panel=panel)(function)
    app.add_typer(contracts.app, rich_help_panel=LOOK)
    app.add_typer(watermark.app, rich_help_panel=ACT)
    app.add_typer(references.app, rich_help_panel=ACT)
    app.add_typer(alerts.app, rich_help_panel=SET_UP)
    app.add_typer(config.app, rich_help_panel=SET_UP)
    app.add_typer(db.app, rich_help_panel=SET_UP)
    app.add_typer(service.app, rich_help_panel=SET_UP)
