"""One realistic example of every command, result and event, for the generated documents; tests check each.

All of them tell of the same two jobs on the same node. In the daemon only the gateway's own document shows them.
"""

from schemas.examples.events import EVENT_EXAMPLES
from schemas.examples.requests import REQUESTS
from schemas.examples.results import RESULT_EXAMPLES, VLM_DOCUMENT, accepted_reply, refused_reply

__all__ = ["EVENT_EXAMPLES", "REQUESTS", "RESULT_EXAMPLES", "VLM_DOCUMENT", "accepted_reply", "refused_reply"]
