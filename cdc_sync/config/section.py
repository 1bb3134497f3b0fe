"""What every section of config.yaml is: frozen, without unknown keys, true to its own rule."""

from collections.abc import Set as AbstractSet
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """Keys that belong together: frozen, and none but its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def broken_rule(cls, given: AbstractSet[str]) -> str | None:
        """What is wrong with the choice of keys, in words that go on after the section's name."""
        del given
        return None

    @model_validator(mode="after")
    def _keeps_its_rule(self) -> Self:
        given = {name for name in type(self).model_fields if getattr(self, name) is not None}
        if broken := self.broken_rule(given):
            raise ValueError(broken)
        return self
