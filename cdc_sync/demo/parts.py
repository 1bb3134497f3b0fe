"""The demo's parts: a folder that goes away, a sandbox, a changing source, a configuration."""

import secrets
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cdc_sync.config.load import load_config
from cdc_sync.config.model import Config
from cdc_sync.demo.source import Change, create_source, keep_changing
from cdc_sync.sandbox.app import sandbox_app
from cdc_sync.sandbox.ledger import Ledger
from cdc_sync.web.server import serving

CONTRACTS = 500
CHANGES_PER_SECOND = 8.0

_CONFIG = """\
source:
  url: sqlite:///contracts.db
  table: contracts
  id: id
  watermark: updated_at
  deleted_when: deleted_at IS NOT NULL
  lookback: 5s
mapping:
  reference: "demo-{{id}}"
  account: account_name
  start: start_date
  end: end_date
  description: "{{plan}}"
customergauge:
  base_url: {url}
  token_url: {url}/oauth2/token
  client_id: sandbox
  client_secret: sandbox
  rate_limit: 200/s
state:
  url: sqlite:///state.db
schedule:
  poll: 1s
web:
  listen: 127.0.0.1:0
  token: "{token}"
"""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the demo runs beside the daemon; `token` is that of its page."""

    url: str
    token: str
    ledger: Ledger
    source: Path
    config: Config


@contextmanager
def demo_parts() -> Iterator[Parts]:
    """Everything on free loopback ports and in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="cdc-sync-demo-") as name:
        folder, ledger, token = Path(name), Ledger(), secrets.token_hex(4)
        source = folder / "contracts.db"
        create_source(source, CONTRACTS)
        with serving(sandbox_app(ledger), "127.0.0.1", 0) as url:
            file = folder / "config.yaml"
            file.write_text(_CONFIG.format(url=url, token=token))
            yield Parts(url, token, ledger, source, load_config(file, {}))


@contextmanager
def changing(source: Path, tell: Callable[[Change], None]) -> Iterator[None]:
    """The source keeps changing while inside."""
    stop = threading.Event()
    thread = threading.Thread(
        target=keep_changing,
        args=(source, stop),
        kwargs={"per_second": CHANGES_PER_SECOND, "tell": tell},
        name="changes",
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
