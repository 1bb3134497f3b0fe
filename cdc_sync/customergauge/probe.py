"""Whether the imports API answers at all, asked without changing anything."""

import requests

from cdc_sync import __version__
from cdc_sync.config.model import CustomerGaugeConfig


def unreachable_because(config: CustomerGaugeConfig) -> str | None:
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
    except requests.RequestException as error:
        return type(error).__name__
    return None
