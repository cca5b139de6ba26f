"""Xid errors as NVML tells of them, waited for on a thread of their own: the wait blocks, and a driver may hang.

Where the driver has no such events (an old one, a container without the right) that is said once and done without:
readings still tell a lost device and memory errors. After any other failure (a GPU was lost, the driver was loaded
anew) the thread registers again after a pause.
"""

import threading
from collections.abc import Callable

from daemon.adapters import nvml_calls
from daemon.adapters.nvml_calls import NVML_ERROR, EventSet
from daemon.logs import get_log

log = get_log("nvml")

WAIT_MS = 1000
"""How long one wait in the driver lasts, and so the end of the thread at most."""
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

    def ended(self, limit_s: float) -> bool:
        """Wait for the thread's end; False: it hangs in the driver."""
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                events, gpus = self._register()
            except NVML_ERROR as error:
                if nvml_calls.is_refusal(error):
                    log.warning("no_xid_events", f"the driver tells of no Xid errors: {error}; done without")
                    return
                self._wait_again(error)
                continue
            try:
                self._listen(events, gpus)
            except NVML_ERROR as error:
                self._wait_again(error)
            finally:
                nvml_calls.free_events(events)

    def _register(self) -> tuple[EventSet, dict[int, int]]:
        """An event set of all GPUs that can be asked, and their indices by handle. Raises where there is none."""
        events = nvml_calls.new_events()
        gpus: dict[int, int] = {}
        failed: Exception | None = None
        for index in self._indices:
            try:
                gpus[nvml_calls.listen(events, index)] = index
            except NVML_ERROR as error:  # one that is lost must not keep the others from being heard
                failed = error
        if failed is not None and not gpus:
            nvml_calls.free_events(events)
            raise failed
        return events, gpus

    def _listen(self, events: EventSet, gpus: dict[int, int]) -> None:
        while not self._stopping.is_set():
            found = nvml_calls.next_xid(events, WAIT_MS)
            if found is not None and found.gpu in gpus:
                self._tell(gpus[found.gpu], found.number)

    def _wait_again(self, error: Exception) -> None:
        if str(error) != self._said:
            self._said = str(error)
            log.warning("xid_events_wait", f"{error}; listening again every {self._again_s:g} s")
        self._stopping.wait(self._again_s)
