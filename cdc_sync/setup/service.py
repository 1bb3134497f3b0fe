"""Installs a service: user, configuration, unit, secrets and state; what is right is left alone."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from cdc_sync.config.load import load_config
from cdc_sync.config.write import render
from cdc_sync.errors import ConfigMistake, UserMistake
from cdc_sync.setup.files import PASSWORD, SECRET, Place
from cdc_sync.setup.host import Host, Owner
from cdc_sync.state.database import state_file

USER = "cdc-sync"
CONFIGS = Path("/etc/cdc-sync")
STATES = Path("/var/lib/cdc-sync")
UNITS = Path("/etc/systemd/system")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_PREFIX = "/opt/cdc-sync"  # in the units as they are shipped
#: What the way out goes by (`rules.route`, OpenSSL).
_PROXY_VARIABLES = (
    *("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"),
    *("no_proxy", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)
_ESCAPED, _BACKSLASHED = re.compile(r'["\\$`]'), r"\\\g<0>"
_MARK = "# Written by cdc-sync service install"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done, or with a dry host would be: what it concerns, and the result."""

    name: str
    message: str
    text: str | None = None  #: of a file that is written


@dataclass(frozen=True, slots=True)
class Service:
    """The single service, or with a `name` an instance; its files as the running system sees them.

    Raises UserMistake for what cannot be a name.
    """

    name: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None and (self.name == "config" or not _NAME.fullmatch(self.name)):
            raise UserMistake(
                f"{self.name} cannot be the name of an instance.",
                hint="Take letters, digits, `_`, `-` and `.`; `config` is the single service's.",
            )

    @property
    def unit(self) -> str:
        """As systemctl calls it."""
        return "cdc-sync" if self.name is None else f"cdc-sync@{self.name}"

    @property
    def unit_file(self) -> Path:
        """What systemd reads; all instances share one."""
        return UNITS / ("cdc-sync.service" if self.name is None else "cdc-sync@.service")

    @property
    def credentials_file(self) -> Path:
        """A drop-in with the secrets that the unit does not name itself."""
        return UNITS / f"{self.unit}.service.d" / "credentials.conf"

    @property
    def proxy_file(self) -> Path:
        """A drop-in that names the environment of the proxy."""
        return self.credentials_file.with_name("proxy.conf")

    @property
    def environment_file(self) -> Path:
        """The environment of the proxy; only root may read it, for it may hold a password."""
        return self.credentials_file.with_name("proxy.env")

    @property
    def place(self) -> Place:
        """Where the configuration is, with its secrets."""
        return Place(CONFIGS / f"{self.name or 'config'}.yaml")

    @property
    def state(self) -> Path:
        """The folder that the service may write to."""
        return STATES if self.name is None else STATES / self.name


def install(
    service: Service, host: Host, program: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Step]:
    """Takes each step and yields it; on a dry host, yields the steps that it would take.

    The service gets the proxy and the CAs of `environment`, the shell's.

    Raises UserMistake, before anything is done, where a unit of somebody else's is in the way.
    """
    written = (
        service.unit_file,
        service.credentials_file,
        service.proxy_file,
        service.environment_file,
    )
    for path in written:
        if (text := host.read(path)) is not None and not _is_ours(text):
            raise UserMistake(
                f"{host.path(path)} was changed, or not written by `cdc-sync service install`.",
                hint="Move it away; settings of your own belong in a drop-in: `systemctl edit`.",
            )
    owner, step = _make_user(host)
    yield step
    yield _write_config(service, host, owner)
    yield _write_unit(service, host, program)
    yield from _hand_over_secrets(service, host)
    yield from _hand_over_proxy(service, host, environment or {})
    yield _make_state(service, host, owner)
    yield from _note_state_elsewhere(service, host)
    host.reload_units()


def installed_unit(config: Path, host: Host) -> str | None:
    """Returns the unit that runs the daemon of a configuration; None where none is installed."""
    if config.absolute().parent != CONFIGS or not _NAME.fullmatch(config.stem):
        return None
    service = Service(None if config.stem == "config" else config.stem)
    is_installed = config.suffix == ".yaml" and host.path(service.unit_file).exists()
    return service.unit if is_installed else None


def has_example(service: Service, host: Host) -> bool:
    """Whether the configuration is still the example."""
    return host.read(service.place.config) == _example_text(service)


def _make_user(host: Host) -> tuple[Owner | None, Step]:
    owner = host.find_owner(USER)
    if owner is not None:
        return owner, Step("user", f"{USER} (unchanged)")
    sysusers = _shipped_text("cdc-sync.sysusers")
    if host.dry:
        return None, Step("user", f"{USER} (created)", sysusers)
    host.make_users(sysusers)
    return host.find_owner(USER), Step("user", f"{USER} (created)")


def _write_config(service: Service, host: Host, owner: Owner | None) -> Step:
    path = service.place.config
    text, result = None, "kept"
    if not host.path(path).exists():
        text, result = _example_text(service), "an example; cdc-sync init --force writes a real one"
        host.write(path, text)
    if owner and not host.dry and host.give(path, Owner(0, owner.group), 0o640) and text is None:
        result += f"; 0640 root:{USER}"
    return Step("config", f"{path} ({result})", text)


def _write_unit(service: Service, host: Host, program: Path) -> Step:
    text = _shipped_text(service.unit_file.name)
    text = text.replace(f"={_PREFIX}/bin/cdc-sync ", f"={program} ")
    text = text.replace(f"file:{_PREFIX}/", f"file:{program.parent.parent}/")
    step = _write_marked("unit", host, service.unit_file, text)
    exposure = host.measure_exposure(service.unit_file)
    return replace(step, message=f"{step.message}   exposure {exposure}") if exposure else step


def _hand_over_secrets(service: Service, host: Host) -> Iterator[Step]:
    secrets = _find_secrets(service, host)
    named_by_unit = {service.place.secret(name).name for name in (PASSWORD, SECRET)}
    further = [name for name in secrets if name not in named_by_unit]
    if further or host.path(service.credentials_file).exists():
        # Set to nothing as well: a file that is taken away leaves an empty secret, and no failure.
        lines = [
            f"LoadCredential={name}:{CONFIGS / name}\nSetCredential={name}:\\n\n"
            for name in further
        ]
        text = "[Service]\n" + "".join(lines)
        step = _write_marked("secrets", host, service.credentials_file, text)
        if further:
            yield step
    if secrets:
        listed = secrets[0] if len(secrets) == 1 else "{" + ",".join(secrets) + "}"
        yield Step("secrets", f"LoadCredential from {CONFIGS}/{listed}")
    else:
        yield Step("secrets", f"none in {CONFIGS} yet: files that only root may read (0600)")


def _hand_over_proxy(
    service: Service, host: Host, environment: Mapping[str, str]
) -> Iterator[Step]:
    """Gives the service the variables that the shell has; without any, leaves what is there."""
    names = [name for name in _PROXY_VARIABLES if environment.get(name)]
    if not names:
        return
    # `systemctl show` shows everybody what stands in a unit itself.
    lines = [f'{name}="{_ESCAPED.sub(_BACKSLASHED, environment[name])}"\n' for name in names]
    step = _write_marked("proxy", host, service.environment_file, "".join(lines), 0o600)
    yield Step("proxy", f"{', '.join(names)} of this shell: {step.message}")
    text = f"[Service]\nEnvironmentFile={service.environment_file}\n"
    yield _write_marked("proxy", host, service.proxy_file, text)


def _find_secrets(service: Service, host: Host) -> list[str]:
    """Returns the files beside the configuration that only their owner may read."""
    if service.name is None:
        found = [file for file in host.path(CONFIGS).glob("*") if "." not in file.name]
    else:
        beside = host.path(CONFIGS).glob(f"{service.name}.*")
        found = [file for file in beside if file.suffix != ".yaml"]
    return sorted(file.name for file in found if _is_private(file))


def _is_private(file: Path) -> bool:
    return file.is_file() and not file.is_symlink() and not file.stat().st_mode & 0o077


def _make_state(service: Service, host: Host, owner: Owner | None) -> Step:
    folder = host.path(service.state)
    is_changed = host.dry or not folder.exists()
    if not host.dry:
        folder.mkdir(parents=True, exist_ok=True)
        if owner:
            is_changed |= host.give_folder(service.state, owner, 0o750)
    return Step("state", f"{service.state} (0750 {USER}{'' if is_changed else ', unchanged'})")


def _note_state_elsewhere(service: Service, host: Host) -> Iterator[Step]:
    """Names a state file that the service could not write to."""
    path = service.place.config
    try:
        config = load_config(host.path(path), os.environ, secrets=False)
    except ConfigMistake:
        return  # `check` says it better, and the example is one
    file = state_file(config.state.url.get_secret_value())
    if file is not None and not file.is_relative_to(service.state):
        yield Step(
            "NOTE",
            f"{file} is not below {service.state}, and the service may write nowhere else:"
            f" change state.url in {path}",
        )


def uninstall(service: Service, host: Host) -> Iterator[Step]:
    """Takes each step and yields it; on a dry host, yields the steps that it would take."""
    if _is_ours(host.read(service.unit_file) or ""):
        host.disable(service.unit)
        yield Step("service", f"{service.unit} (stopped, disabled)")
    if others := _other_instances(service, host):
        yield Step("unit", f"{service.unit_file} (kept: {', '.join(others)})")
    else:
        result = host.remove(service.unit_file, _is_ours) or "not there"
        yield Step("unit", f"{service.unit_file} ({result})")
    example = _example_text(service)
    removable: list[tuple[str, Path, Callable[[str], bool]]] = [
        ("secrets", service.credentials_file, _is_ours),
        ("proxy", service.environment_file, _is_ours),
        ("proxy", service.proxy_file, _is_ours),
        ("config", service.place.config, example.__eq__),
    ]
    for name, path, is_own in removable:
        if (removed := host.remove(path, is_own)) is not None:
            yield Step(name, f"{path} ({removed})")
    host.reload_units()
    yield from _remove_folders(service, host)
    if host.find_owner(USER) is not None:
        yield Step("user", f"{USER} (kept: files may be its own; userdel {USER} removes it)")


def _remove_folders(service: Service, host: Host) -> Iterator[Step]:
    for name, folder in (("config", CONFIGS), ("state", service.state)):
        if not host.path(folder).exists() or host.dry:
            continue
        if host.remove_if_empty(folder):
            yield Step(name, f"{folder} (removed)")
        elif name == "state":
            yield Step(name, f"{folder} (kept: what is known of every contract)")


def _other_instances(service: Service, host: Host) -> list[str]:
    """Returns those of the same unit: started at boot, with a drop-in, or with a configuration."""
    if service.name is None:
        return []
    units = host.path(UNITS)
    links = [*units.glob("*.wants/cdc-sync@*.service"), *units.glob("cdc-sync@*.service.d")]
    names = {link.name.removesuffix(".d").removesuffix(".service") for link in links}
    configs = host.path(CONFIGS).glob("*.yaml")
    names |= {f"cdc-sync@{file.stem}" for file in configs if file.stem != "config"}
    return sorted(names - {service.unit, "cdc-sync@"})


def _example_text(service: Service) -> str:
    """Returns a configuration to fill in, or to write again with `init`."""
    place = service.place
    password, secret = place.form(PASSWORD), place.form(SECRET)
    return render(
        {
            "source": {
                "url": f"postgresql+psycopg://reader:{password}@db.example.com/erp",
                "table": "contracts",
                "id": "id",
                "watermark": "updated_at",
            },
            "mapping": {
                "reference": "erp-{id}",
                "account": "account_name",
                "start": "start_date",
                "end": "end_date",
            },
            "customergauge": {
                "region": "eu",
                "client_id": "your-client-id",
                "client_secret": secret,
            },
            "state": {"url": place.state_url} if place.state_url else {},
        }
    )


def _write_marked(name: str, host: Host, path: Path, text: str, mode: int = 0o644) -> Step:
    """Writes a text under a line that says whose it is, and tells whether somebody changed it."""
    marked = f"{_MARK} [{_digest(text)}]; own settings belong in `systemctl edit`.\n{text}"
    result = host.write(path, marked, mode)
    return Step(name, f"{path} ({result})", None if result == "unchanged" else marked)


def _is_ours(text: str) -> bool:
    """Whether a text has its mark, and is as it was written."""
    first, _, rest = text.partition("\n")
    return first.startswith(f"{_MARK} [{_digest(rest)}]")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _shipped_text(name: str) -> str:
    """Returns a file of `systemd/`: where the wheel's data went, or in a checkout."""
    try:
        shipped = [file for file in files("cdc-sync") or () if file.name == name]
    except PackageNotFoundError:
        shipped = []
    checkout = Path(__file__).resolve().parents[2] / "systemd" / name
    for path in (*(Path(str(file.locate())).resolve() for file in shipped), checkout):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise UserMistake(f"This installation lacks {name}.", hint="Install the package again.")
