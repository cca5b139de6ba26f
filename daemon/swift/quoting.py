"""Which lines of a log are ms-swift's own words, and which are somebody else's that it repeats.

At its start ms-swift prints its command line (``run sh: `…` ``, the system prompt in it), its arguments and one row of
the data set as they are, line breaks included. So a row can hold a line that looks like a logged step, an error or a
path. Nothing is taken from such lines.
"""

_OPENERS = ("[INFO:swift] args: ", "[INFO:swift] [", "[INFO:swift] default_system: ")
"""`[INPUT_IDS]`, `[INPUT]`, `[LABELS]`, … are how a row's parts are printed."""
_LEVELS = ("[INFO:", "[WARNING:", "[ERROR:", "[rank", "Traceback (most recent call last)")
"""What begins the next message."""
_COMMAND = "run sh: `"


class Quoting:
    """Feed it each line; it says whether that line is repeated matter."""

    def __init__(self) -> None:
        self._command = False
        self._message = False

    def feed(self, text: str) -> bool:
        """Whether this line is, or belongs to, something that ms-swift only repeats."""
        if self._command:
            self._command = not (_ends_command(text) or text.startswith(_LEVELS))
            return not text.startswith(_LEVELS)
        if text.startswith(_LEVELS):
            self._message = text.startswith(_OPENERS)
            return self._message
        if text.startswith(_COMMAND):
            self._command = not _ends_command(text)
            return True
        return self._message


def _ends_command(text: str) -> bool:
    return text.endswith(("`", " bytes cut]"))
