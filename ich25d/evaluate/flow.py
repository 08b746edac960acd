"""How many cases there were, how many are judged, and why the others aren't."""

from dataclasses import dataclass, field
from typing import Any

from ich25d.studies.reasons import Reason


@dataclass(frozen=True, slots=True)
class Flow:
    """Steps from all cases to those judged, and the reasons that tables give."""

    steps: tuple[tuple[str, int], ...]
    """What is counted, and how many."""
    reasons: tuple[Reason, ...] = field(default=())

    def rows(self) -> list[dict[str, Any]]:
        """Return both as rows of one table."""
        steps = [{"kind": "step", "what": what, "n": n, "level": "", "code": "", "where": ""} for what, n in self.steps]
        reasons = [
            {
                "kind": "refused" if reason.is_refused else "remark", "what": reason.meaning, "n": reason.n,
                "level": reason.level, "code": reason.code, "where": reason.where,
            }
            for reason in self.reasons
        ]  # fmt: skip
        return [*steps, *reasons]
