"""Groups of things that are linked in pairs, directly or over others."""

from typing import Any, Generic, TypeVar

Item = TypeVar("Item", bound=Any)


class Linked(Generic[Item]):
    """Groups that grow by links; each is known by its smallest member (a union-find)."""

    def __init__(self) -> None:
        self._lower: dict[Item, Item] = {}

    def first(self, item: Item) -> Item:
        """Return the smallest member of the item's group: the item itself where it was never linked."""
        lower = self._lower
        while item in lower:
            below = lower[item]
            lower[item] = lower.get(below, below)  # the next search is shorter
            item = below
        return item

    def link(self, one: Item, other: Item) -> None:
        """Put the groups of two items together."""
        low, high = sorted((self.first(one), self.first(other)))
        if low != high:
            self._lower[high] = low

    def members(self) -> dict[Item, Item]:
        """Return the smallest member of its group for every linked item."""
        linked = {*self._lower, *self._lower.values()}
        return {item: self.first(item) for item in linked}
