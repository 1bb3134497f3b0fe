"""The texts that are installed: unit, drop-in, example; and how ours are known again."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from cdc_sync.config.write import render
from cdc_sync.errors import UserMistake
from cdc_sync.service.places import CONFIGS, Service
from cdc_sync.set_up import Answers, Place, SourceAddress, written_form

_PREFIX = "/opt/cdc-sync"  # in the units as they are shipped
_MARK = "# Written by cdc-sync service install"
_EXAMPLE = Answers(
    source=SourceAddress(
        "postgresql+psycopg://reader@db.example.com/erp", "reader", "a form stands for it", "erp"
    ),
    table="contracts",
    id=("id",),
    watermark="updated_at",
    time_zone=None,
    mapping={
        "reference": "erp-{id}",
        "account": "account_name",
        "start": "start_date",
        "end": "end_date",
    },
    customergauge={"region": "eu", "client_id": "your-client-id"},
    client_secret="",
    state_url=None,
)


def unit_text(service: Service, program: Path) -> str:
    """The unit of the service, for this program."""
    text = _shipped(service.unit_file.name).read_text(encoding="utf-8")
    text = text.replace(f"={_PREFIX}/bin/cdc-sync ", f"={program} ")
    return marked(text.replace(f"file:{_PREFIX}/", f"file:{program.parent.parent}/"))


def credentials_text(secrets: Sequence[str]) -> str:
    """A drop-in that hands these files to the service; one that is taken away is empty for it."""
    lines = [
        f"LoadCredential={name}:{CONFIGS / name}\nSetCredential={name}:\\n\n" for name in secrets
    ]
    return marked("[Service]\n" + "".join(lines))


def sysusers_text() -> str:
    """What systemd-sysusers makes the user from."""
    return _shipped("cdc-sync.sysusers").read_text(encoding="utf-8")


def example_text(service: Service) -> str:
    """A configuration to fill in, or to write anew with `init`."""
    place = Place(service.config)
    return render(written_form(replace(_EXAMPLE, state_url=place.state_url), place))


def marked(text: str) -> str:
    """The text under a line that says whose it is, and tells whether somebody has changed it."""
    return f"{_MARK} [{_digest(text)}]; own settings belong in `systemctl edit`.\n{text}"


def is_ours(text: str) -> bool:
    """Whether a text has its mark, and is as it was written."""
    first, _, rest = text.partition("\n")
    return first.startswith(f"{_MARK} [{_digest(rest)}]")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _shipped(name: str) -> Path:
    """A file of `systemd/`: where the wheel's data went, or in a checkout."""
    try:
        shipped = [file for file in files("cdc-sync") or () if file.name == name]
    except PackageNotFoundError:
        shipped = []
    checkout = Path(__file__).resolve().parents[2] / "systemd" / name
    for path in (*(Path(str(file.locate())).resolve() for file in shipped), checkout):
        if path.is_file():
            return path
    raise UserMistake(f"This installation lacks {name}.", mend="Install the package again.")
