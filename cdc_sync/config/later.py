"""The keys that are read and checked, but have no effect in this version yet."""

from cdc_sync.config.model import Config

LATER = (("source", "notify_channel"),)


def without_effect(config: Config) -> list[str]:
    """Those of them that the configuration sets to something other than their default."""
    found = []
    for section, key in LATER:
        model = getattr(config, section)
        field = type(model).model_fields[key]
        if getattr(model, key) != field.get_default(call_default_factory=True, validated_data={}):
            found.append(f"{section}.{key}")
    return found
