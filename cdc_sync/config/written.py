"""A configuration as YAML text, in the order in which it is given."""

from io import StringIO
from typing import Any

from ruamel.yaml import YAML


def as_yaml(document: dict[str, Any]) -> str:
    """The document as config.yaml would say it."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # its stub says None
    text = StringIO()
    yaml.dump(document, text)
    return text.getvalue().rstrip("\n")
