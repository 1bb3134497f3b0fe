"""`service install` and `service uninstall`."""

import os
from collections.abc import Iterable
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_sync.errors import UserMistake

if TYPE_CHECKING:
    from cdc_sync.service.files import Step

app = typer.Typer(name="service", help="The daemon under systemd.", no_args_is_help=True)

Name = Annotated[
    str | None, typer.Argument(help="An instance: /etc/cdc-sync/NAME.yaml, cdc-sync@NAME.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print it, and do nothing.")]
Root = Annotated[Path, typer.Option(metavar="DIR", help="Install into the image below DIR.")]


@app.command()
def install(name: Name = None, dry_run: DryRun = False, root: Root = Path("/")) -> None:
    """Install user, unit, directories and rights; what is right already is left alone."""
    from cdc_sync.service.install import has_example, install
    from cdc_sync.service.places import Service
    from cdc_sync.service.program import expect_runnable, parts_of, this_program

    service, program = Service(name, root.absolute()), this_program()
    if not dry_run:
        _expect_root("install")
        expect_runnable(parts_of(program))
    _tell(install(service, program, dry=dry_run), dry=dry_run)
    if dry_run:
        expect_runnable(parts_of(program))
    else:
        first = f"fill in {service.config}; then " if has_example(service) else ""
        print(f"Next: {first}systemctl enable --now {service.unit}")


@app.command()
def uninstall(name: Name = None, dry_run: DryRun = False, root: Root = Path("/")) -> None:
    """Stop the service and take back what install wrote; configuration and state stay."""
    from cdc_sync.service.places import Service
    from cdc_sync.service.uninstall import uninstall

    if not dry_run:
        _expect_root("uninstall")
    _tell(uninstall(Service(name, root.absolute()), dry=dry_run), dry=dry_run)


def _expect_root(command: str) -> None:
    if os.geteuid() != 0:
        raise UserMistake(
            "This writes below /etc and needs root.", mend=f"Run: sudo cdc-sync service {command}"
        )


def _tell(steps: "Iterable[Step]", *, dry: bool) -> None:
    try:
        for step in steps:
            print(f"  {step.name:<8}  {step.says}", flush=True)
            if dry and step.text is not None:
                print(indent(step.text, "            | ", lambda _line: True), end="")
    except BrokenPipeError:
        raise  # `| head` has seen enough
    except OSError as error:
        raise UserMistake(f"{error.filename} cannot be written ({error.strerror}).") from None
    if dry:
        print("Nothing was done (--dry-run).")
