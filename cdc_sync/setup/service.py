"""Installs a service: user, configuration, unit, secrets and state; what is right is left alone."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from cdc_sync.config.load import load_config
from cdc_sync.config.write import render
from cdc_sync.errors import ConfigMistake, UserMistake
from cdc_sync.setup import host
from cdc_sync.setup.files import Answers, Place, SourceAddress, config_as_written
from cdc_sync.setup.host import (
    CONFIGS,
    UNITS,
    USER,
    Ids,
    Service,
    Step,
    give,
    give_all,
    put,
    read,
    remove_if_empty,
    take_back,
)
from cdc_sync.state.database import state_file

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


def install(service: Service, program: Path, *, dry: bool) -> Iterator[Step]:
    """Does each step and yields it; `dry`: does nothing, and yields what it would do.

    Raises UserMistake, before anything is done, where a unit of somebody else's is in the way.
    """
    _expect_own(service.below_root(service.unit_file))
    _expect_own(service.below_root(service.credentials_file))
    ids, step = _user(service, dry=dry)
    yield step
    yield _config(service, ids, dry=dry)
    yield _unit(service, program, dry=dry)
    yield from _secrets(service, dry=dry)
    yield _state(service, ids, dry=dry)
    yield from _state_elsewhere(service)
    if not dry:
        host.reload_units(service.root)


def has_example(service: Service) -> bool:
    """Whether the configuration is still the example."""
    return read(service.below_root(service.config)) == example_text(service)


def _expect_own(path: Path) -> None:
    text = read(path)
    if text is not None and not is_ours(text):
        raise UserMistake(
            f"{path} was changed, or not written by `cdc-sync service install`.",
            hint="Move it away; settings of your own belong in a drop-in: `systemctl edit`.",
        )


def _user(service: Service, *, dry: bool) -> tuple[Ids | None, Step]:
    ids = host.ids_of(USER, service.root)
    if ids is not None:
        return ids, Step("user", f"{USER} (unchanged)")
    if not dry:
        host.make_user(sysusers_text(), service.root)
        ids = host.ids_of(USER, service.root)
    return ids, Step("user", f"{USER} (created)", sysusers_text() if dry else None)


def _config(service: Service, ids: Ids | None, *, dry: bool) -> Step:
    path = service.below_root(service.config)
    text, how = None, "kept"
    if not path.exists():
        text, how = example_text(service), "an example; cdc-sync init --force writes a real one"
        put(path, text, dry=dry)
    if ids is not None and not dry and give(path, 0o640, 0, ids.group) and text is None:
        how += f"; 0640 root:{USER}"
    return Step("config", f"{service.config} ({how})", text)


def _unit(service: Service, program: Path, *, dry: bool) -> Step:
    path, text = service.below_root(service.unit_file), unit_text(service, program)
    how = put(path, text, dry=dry)
    figure = host.exposure(path) if path.exists() else None
    says = f"{service.unit_file} ({how})" + (f"   exposure {figure}" if figure else "")
    return Step("unit", says, None if how == "unchanged" else text)


def _secrets(service: Service, *, dry: bool) -> Iterator[Step]:
    path, further = service.below_root(service.credentials_file), service.further_secrets()
    if further:
        text = credentials_text(further)
        how = put(path, text, dry=dry)
        yield Step(
            "secrets", f"{service.credentials_file} ({how})", None if how == "unchanged" else text
        )
    elif path.exists():
        put(path, credentials_text(()), dry=dry)
    if names := service.secrets():
        yield Step("secrets", f"LoadCredential from {CONFIGS}/{_braced(names)}")
    else:
        yield Step("secrets", f"none in {CONFIGS} yet: files that only root may read (0600)")


def _state(service: Service, ids: Ids | None, *, dry: bool) -> Step:
    folder = service.below_root(service.state)
    is_new = not folder.exists()
    if is_new and not dry:
        folder.mkdir(parents=True)
    changed = is_new
    if ids is not None and not dry:
        changed = give(folder, 0o750, ids.user, ids.group) or changed
        changed = give_all(folder, ids) or changed
    how = "" if changed or dry else ", unchanged"
    return Step("state", f"{service.state} (0750 {USER}{how})")


def _state_elsewhere(service: Service) -> Iterator[Step]:
    """A state file that the service could not write to."""
    try:
        config = load_config(service.below_root(service.config), os.environ, secrets=False)
    except ConfigMistake:
        return  # `check` says it better, and the example is one
    file = state_file(config.state.url.get_secret_value())
    if file is not None and not file.is_relative_to(service.state):
        yield Step(
            "NOTE",
            f"{file} is not below {service.state}, and the service may write nowhere else:"
            f" change state.url in {service.config}",
        )


def _braced(names: list[str]) -> str:
    return names[0] if len(names) == 1 else "{" + ",".join(names) + "}"


def uninstall(service: Service, *, dry: bool) -> Iterator[Step]:
    """Does each step and yields it; `dry`: does nothing, and yields what it would do."""
    if is_ours(read(service.below_root(service.unit_file)) or ""):
        if not dry:
            host.disable(service.unit, service.root)
        yield Step("service", f"{service.unit} (stopped, disabled)")
    yield from _files(service, dry=dry)
    if not dry:
        host.reload_units(service.root)
    yield from _folders(service, dry=dry)
    if host.ids_of(USER, service.root) is not None:
        yield Step("user", f"{USER} (kept: files may be its own; userdel {USER} removes it)")


def _files(service: Service, *, dry: bool) -> Iterator[Step]:
    others = _other_instances(service)
    if others:
        yield Step("unit", f"{service.unit_file} (kept: {', '.join(others)})")
    else:
        how = take_back(service.below_root(service.unit_file), is_ours, dry=dry)
        yield Step("unit", f"{service.unit_file} ({how or 'not there'})")
    how = take_back(service.below_root(service.credentials_file), is_ours, dry=dry)
    if how is not None:
        yield Step("secrets", f"{service.credentials_file} ({how})")
    example = example_text(service)
    how = take_back(service.below_root(service.config), lambda text: text == example, dry=dry)
    if how is not None:
        yield Step("config", f"{service.config} ({how})")


def _folders(service: Service, *, dry: bool) -> Iterator[Step]:
    for name, folder in (("config", CONFIGS), ("state", service.state)):
        path = service.below_root(folder)
        if not path.exists() or dry:
            continue
        if remove_if_empty(path):
            yield Step(name, f"{folder} (removed)")
        elif name == "state":
            yield Step(name, f"{folder} (kept: what is known of every contract)")


def _other_instances(service: Service) -> list[str]:
    """Instances by the same unit: started at boot, with a drop-in, or with a configuration."""
    if service.name is None:
        return []
    units, configs = service.below_root(UNITS), service.below_root(CONFIGS)
    links = [*units.glob("*.wants/cdc-sync@*.service"), *units.glob("cdc-sync@*.service.d")]
    names = {link.name.removesuffix(".d").removesuffix(".service") for link in links}
    names |= {f"cdc-sync@{file.stem}" for file in configs.glob("*.yaml") if file.stem != "config"}
    return sorted(names - {service.unit, "cdc-sync@"})


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
    return render(config_as_written(replace(_EXAMPLE, state_url=place.state_url), place))


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
    raise UserMistake(f"This installation lacks {name}.", hint="Install the package again.")
