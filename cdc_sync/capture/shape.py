"""What of the configuration shapes payloads: a change of it calls for a full scan."""

import hashlib
import json

from cdc_sync.config.model import Config


def shape_of(config: Config) -> dict[str, str]:
    """Two hashes: of all that shapes payloads, and of the watermark column alone."""
    source = config.source
    everything = [
        source.table,
        source.query,
        source.id,
        source.watermark,
        source.where,
        source.deleted_when,
        source.time_zone,
        config.mapping.model_dump(mode="json"),
        config.customergauge.clear_end_with,
    ]
    return {"payloads": _hash(everything), "watermark": _hash([source.watermark])}


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
