"""Takes a service back: what `install` wrote and nobody changed since; never the state."""

from collections.abc import Iterator

from cdc_sync.service import host
from cdc_sync.service.files import Step, read, remove_if_empty, take_back
from cdc_sync.service.places import CONFIGS, UNITS, USER, Service
from cdc_sync.service.texts import example_text, is_ours


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
