"""Threads for calls that may hang: a driver, a file system whose server is away.

Nobody can end such a thread. So it is left behind: the interpreter does not wait for it at its end, as it would for
those of an ordinary executor, and no other call waits behind it.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

MOST = 256
"""Calls of an executor at once; more wait. Each of the daemon's lanes, jobs and commands makes one at a time."""
END_LIMIT_S = 2.0


def in_thread(call: Callable[[], T], name: str) -> "asyncio.Future[T]":
    """Do it in a thread of its own."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # pyright: ignore[reportArgumentType]  # no error: it is the result

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = call()
        except Exception as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop may have ended meanwhile
            loop.call_soon_threadsafe(tell, result, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


class LeftBehind(ThreadPoolExecutor):
    """An executor for asyncio's `to_thread` and name look-ups, whose hung calls hold up neither others nor the end."""

    def __init__(self, most: int = MOST, end_limit_s: float = END_LIMIT_S) -> None:
        super().__init__(max_workers=1)  # asyncio takes no other kind; its own threads are never started
        self._most = most
        self._end_limit_s = end_limit_s
        self._changed = threading.Condition()
        self._running = 0
        self._waiting: deque[Callable[[], None]] = deque()
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Do it now, or when one of the others has ended."""
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        with self._changed:
            if self._closed:
                raise RuntimeError("the daemon ends")
            if self._running >= self._most:
                self._waiting.append(work)
                return future
            self._running += 1
        threading.Thread(target=self._work, args=(work,), name="file work", daemon=True).start()
        return future

    def _work(self, work: Callable[[], None] | None) -> None:
        while work is not None:
            work()
            with self._changed:
                work = self._waiting.popleft() if self._waiting else None
                if work is None:
                    self._running -= 1
                    self._changed.notify_all()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more. What hangs is waited for a moment, and then left behind; what waits behind it is dropped."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            if wait:
                self._changed.wait_for(lambda: not self._running, self._end_limit_s)
        super().shutdown(wait=False, cancel_futures=cancel_futures)
