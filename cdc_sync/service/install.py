"""Installs a service: user, configuration, unit, secrets and state; what is right is left alone."""

import os
from collections.abc import Iterator
from pathlib import Path

from cdc_sync.config.load import load_config
from cdc_sync.errors import ConfigMistake, UserMistake
from cdc_sync.service import host
from cdc_sync.service.files import Step, give, give_all, put, read
from cdc_sync.service.host import Ids
from cdc_sync.service.places import CONFIGS, USER, Service
from cdc_sync.service.texts import (
    credentials_text,
    example_text,
    is_ours,
    sysusers_text,
    unit_text,
)
from cdc_sync.state.database import state_file


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
            mend="Move it away; settings of your own belong in a drop-in: `systemctl edit`.",
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
