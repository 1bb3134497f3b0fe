"""Whether the imports API answers at all, asked without changing anything."""

import requests

from cdc_sync import __version__
from cdc_sync.config.model import CustomerGaugeConfig
from cdc_sync.customergauge.unreached import FAILURES, Unreached, unreached


def unreachable_because(config: CustomerGaugeConfig) -> Unreached | None:
    """Why no answer comes from the API; None where any comes: a GET is not even allowed there."""
    try:
        with requests.Session() as session:
            session.trust_env = False
            session.get(
                config.imports_url,
                headers={"User-Agent": f"cdc-sync/{__version__}", "Accept": "application/json"},
                timeout=min(10.0, config.timeout.total_seconds()),
                allow_redirects=False,
                stream=True,
            ).close()
    except FAILURES as error:
        return unreached(error, "base_url")
    return None
