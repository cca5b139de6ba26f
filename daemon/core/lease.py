"""A node's lease of all that it runs."""

from dataclasses import dataclass


@dataclass(slots=True)
class Lease:
    """Written by the heartbeat alone."""

    epoch: int = 0
    """As in the node's document when the lease was taken up."""
    until_s: float | None = None
    """By the clock that never goes back; None: without end, because nobody takes this node's jobs over."""

    def holds(self, now_s: float) -> bool:
        """Whether anything may be started."""
        return self.until_s is None or now_s < self.until_s
