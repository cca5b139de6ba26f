"""Xid errors as NVML tells of them, waited for on a thread of their own: the wait blocks, and a driver may hang.

Where the driver has no such events (an old one, a container without the right) that is said once and done without:
readings still tell a lost device and memory errors. After any other failure (a GPU is lost, the driver was loaded anew)
the thread registers again after a pause; what comes between is not heard.
"""

import math
import threading
import time
from collections.abc import Callable

from daemon.adapters import nvml_calls
from daemon.adapters.nvml_calls import NVML_ERROR, EventSet
from daemon.logs import get_log

log = get_log("nvml")

WAIT_MS = 1000
"""How long one wait in the driver lasts, and so the end of the thread at most."""
END_LIMIT_S = 3 * WAIT_MS / 1000
AGAIN_S = 10.0


class XidThread:
    """Tells of each Xid with the GPU's index, from its own thread, until it is stopped."""

    def __init__(self, indices: tuple[int, ...], tell: Callable[[int, int], None], *, again_s: float = AGAIN_S) -> None:
        self._indices = indices
        self._tell = tell
        self._again_s = again_s
        self._stopping = threading.Event()
        self._said: str | None = None
        self._thread = threading.Thread(target=self._run, name="nvml events", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Have the thread end with its present wait."""
        self._stopping.set()

    def ended(self) -> bool:
        """Wait for the thread's end; False: it hangs in the driver."""
        self._thread.join(END_LIMIT_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._hear()
            except NVML_ERROR as error:
                if nvml_calls.is_refusal(error):
                    log.warning("no_xid_events", f"the driver tells of no Xid errors: {error}; done without")
                    return
                self._wait_again(error)
            except Exception as error:
                log.crash("xid_events_unreadable", "an answer that is not understood; done without", error)
                return

    def _hear(self) -> None:
        events = nvml_calls.new_events()
        try:
            gpus, lost = self._register(events)
            self._listen(events, gpus, self._again_s if lost else None)
        finally:
            nvml_calls.free_events(events)

    def _register(self, events: EventSet) -> tuple[dict[int, int], bool]:
        """The GPUs that are heard there, by handle, and whether others may be heard later.

        One that is lost must not keep the others from being heard. Raises where there is none.
        """
        gpus: dict[int, int] = {}
        failed: list[Exception] = []
        for index in self._indices:
            try:
                gpus[nvml_calls.listen(events, index)] = index
            except NVML_ERROR as error:
                failed.append(error)
        if failed and not gpus:
            raise failed[0]
        return gpus, any(not nvml_calls.is_refusal(error) for error in failed)

    def _listen(self, events: EventSet, gpus: dict[int, int], limit_s: float | None) -> None:
        """Tell what comes, until the end or for so long."""
        until_s = math.inf if limit_s is None else time.monotonic() + limit_s
        while not self._stopping.is_set() and time.monotonic() < until_s:
            found = nvml_calls.next_xid(events, WAIT_MS)
            if found is not None and found.gpu in gpus:
                self._tell(gpus[found.gpu], found.number)

    def _wait_again(self, error: Exception) -> None:
        if str(error) != self._said:
            self._said = str(error)
            log.warning("xid_events_wait", f"{error}; listening again every {self._again_s:g} s")
        self._stopping.wait(self._again_s)
