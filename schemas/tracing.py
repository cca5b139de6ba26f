"""The W3C trace context as it comes in a command's headers and is kept in a job's document.

Nothing of a header is believed: what has another form than version 00 of the standard is as if it were not there.
"""

import re

from schemas.base import Wire

TRACEPARENT_HEADER = "traceparent"
TRACESTATE_HEADER = "tracestate"
MOST_TRACESTATE = 512

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_MEMBER = r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_TRACESTATE = re.compile(rf"{_MEMBER}([ \t]*,[ \t]*{_MEMBER}){{0,31}}")


class TraceContext(Wire):
    """The span that caused something."""

    traceparent: str
    """Version, trace id, span id and flags in hexadecimal."""
    tracestate: str | None = None
    """What tracing systems add for themselves."""

    @property
    def headers(self) -> dict[str, str]:
        """As the headers of a message."""
        own = {TRACEPARENT_HEADER: self.traceparent}
        return {**own, TRACESTATE_HEADER: self.tracestate} if self.tracestate else own


def trace_context(traceparent: object, tracestate: object) -> TraceContext | None:
    """The context of two headers of any kind; None where the first is not one. A bad second is left out."""
    if not isinstance(traceparent, str) or not _TRACEPARENT.fullmatch(traceparent):
        return None
    usable = isinstance(tracestate, str) and len(tracestate) <= MOST_TRACESTATE and _TRACESTATE.fullmatch(tracestate)
    return TraceContext(traceparent=traceparent, tracestate=str(tracestate) if usable else None)
