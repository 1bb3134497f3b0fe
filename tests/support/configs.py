"""Configurations of tests: the smallest that is complete, with what a test changes."""

import json
from pathlib import Path
from typing import Any

MAPPING = {
    "reference": "erp-{id}",
    "account": "account_name",
    "start": "start_date",
    "end": "end_date",
    "description": "{plan}",
}


def write_config(path: Path, source_url: str, api: str, **sections: dict[str, Any]) -> Path:
    """Writes a configuration for a source and a sandbox; JSON is YAML, too."""
    document: dict[str, dict[str, Any]] = {
        "source": {
            "url": source_url,
            "table": "contracts",
            "id": "id",
            "watermark": "updated_at",
            "lookback": "1s",
        },
        "mapping": dict(MAPPING),
        "customergauge": {
            "base_url": api,
            "token_url": f"{api}/oauth2/token",
            "client_id": "sandbox",
            "client_secret": "sandbox",
            "rate_limit": "none",
            "timeout": "5s",
        },
        "state": {"url": "sqlite:///state.db"},
        "web": {"listen": "none"},
    }
    for section, keys in sections.items():
        document[section] = {**document.get(section, {}), **keys}
    path.write_text(json.dumps(document, indent=1))
    return path
