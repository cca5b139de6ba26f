"""Lanes: what has one key is worked on one after the other, in the order in which it came; the rest side by side.

What has a second name follows one of the same name that is not done yet, whatever its key: a message that comes again
then finds the reply to the first.
"""

import asyncio
import zlib
from collections import deque
from collections.abc import AsyncGenerator
from typing import Generic, TypeVar

T = TypeVar("T")


class Lane(Generic[T]):
    """A queue without a bound of its own: what puts things in has one."""

    def __init__(self) -> None:
        self.waiting: deque[T] = deque()
        self._wake = asyncio.Event()
        self._closed = False

    def put(self, item: T) -> None:
        """Behind the others."""
        self.waiting.append(item)
        self._wake.set()

    def close(self) -> None:
        """Nothing more comes."""
        self._closed = True
        self._wake.set()

    async def items(self) -> AsyncGenerator[T]:
        """One by one, until it is closed and empty."""
        while self.waiting or not self._closed:
            if self.waiting:
                yield self.waiting.popleft()
            else:
                self._wake.clear()
                await self._wake.wait()


class Lanes(Generic[T]):
    """A fixed number of lanes."""

    def __init__(self, number: int) -> None:
        self.all = [Lane[T]() for _ in range(number)]
        self._named: dict[str, tuple[Lane[T], int]] = {}
        """By name: the lane, and how many of that name are not done."""

    def put(self, item: T, key: str, name: str | None) -> None:
        """Into the lane of its key, or after the one of its name."""
        lane = self.all[zlib.crc32(key.encode()) % len(self.all)]
        if name is not None:
            lane, under_way = self._named.get(name, (lane, 0))
            self._named[name] = (lane, under_way + 1)
        lane.put(item)

    def done(self, name: str | None) -> None:
        """One of this name is done."""
        if name is not None:
            lane, under_way = self._named.pop(name)
            if under_way > 1:
                self._named[name] = (lane, under_way - 1)

    def close(self) -> None:
        """Nothing more comes."""
        for lane in self.all:
            lane.close()
