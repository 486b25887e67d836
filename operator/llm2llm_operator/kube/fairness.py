"""Serves namespaces in turn: whoever has many runs delays their own, and nobody else's.

The work queue and the limits on requests to the API server share this structure.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class FairQueue(Generic[Item]):
    """A queue for each namespace; `pop` and `pop_if` take the first item of the namespace whose turn it is."""

    def __init__(self) -> None:
        self._queues: OrderedDict[str, OrderedDict[Item, None]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        """Returns the number of items of all namespaces."""
        return self._length

    def add(self, namespace: str, item: Item) -> None:
        """Adds an item behind the others of its namespace; a namespace that had none is served last."""
        queue = self._queues.setdefault(namespace, OrderedDict())
        self._length += item not in queue
        queue[item] = None

    def discard(self, namespace: str, item: Item) -> None:
        """Removes an item, if it is there."""
        queue = self._queues.get(namespace, OrderedDict())
        if item in queue:
            del queue[item]
            self._length -= 1
            if not queue:
                del self._queues[namespace]

    def pop(self) -> Item:
        """Removes and returns the next item. Raises IndexError if there is none."""
        item = self.pop_if(lambda _: True)
        if item is None:
            raise IndexError("pop from an empty queue")
        return item

    def pop_if(self, allowed: Callable[[str], bool]) -> Item | None:
        """Removes and returns the next item of a namespace that is allowed one, or returns None. The others keep their
        turns.
        """
        namespace = next(filter(allowed, self._queues), None)
        if namespace is None:
            return None
        queue = self._queues[namespace]
        item, _ = queue.popitem(last=False)
        self._length -= 1
        if queue:
            self._queues.move_to_end(namespace)
        else:
            del self._queues[namespace]
        return item

    def heads(self) -> Iterator[Item]:
        """Yields the first item of each namespace."""
        return (next(iter(queue)) for queue in self._queues.values())
