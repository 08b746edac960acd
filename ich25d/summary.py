"""What a command returns, as JSON takes it."""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any


def as_json(content: Any) -> Any:  # noqa: ANN401  # whatever is kept or printed
    """Return content as JSON takes it: dataclasses as their fields, numbers that aren't defined as null.

    What has a `to_dict` decides its form by that.
    """
    if hasattr(content, "to_dict"):
        content = content.to_dict()
    elif is_dataclass(content):
        content = {field.name: getattr(content, field.name) for field in fields(content)}
    if isinstance(content, Mapping):
        return {str(name): as_json(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [as_json(value) for value in content]
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    return str(content) if isinstance(content, Path) else content


class Summary:
    """A dataclass that a command returns, with `refusals` by code."""

    __slots__ = ()

    @property
    def exit_code(self) -> int:
        """0, or 1 when something was refused."""
        return 1 if getattr(self, "refusals", None) else 0

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        own: Any = self
        return {field.name: as_json(getattr(own, field.name)) for field in fields(own)}
