r"""From bytes to lines: what a log file holds, cut as a terminal would, with bounded memory.

Chunks may cut anywhere, a character in two included. A line ends with `\n`, `\r\n` or a lone `\r` (a progress bar that
is drawn anew). Bytes that are no UTF-8 become U+FFFD. Of a line that is longer than the bound only the head is kept,
and the line says how much was cut: a line of a gigabyte costs the memory of its head and the time of one look at it.
"""

import codecs
from dataclasses import dataclass

DEFAULT_MAX_LINE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log."""

    text: str
    """Without its end."""
    end: int
    """Byte offset in the file behind the line's terminator."""
    carriage: bool
    r"""Ended by a lone `\r`: the next line is drawn over it."""


class LineSplitter:
    """Feed it bytes, get lines."""

    def __init__(self, offset: int = 0, max_line_bytes: int = DEFAULT_MAX_LINE_BYTES) -> None:
        self._offset = offset
        self._max = max_line_bytes
        self._head = bytearray()
        self._cut = 0
        self._pending_cr = False

    def feed(self, data: bytes) -> list[Line]:
        """The lines that these bytes complete."""
        lines: list[Line] = []
        if not data:
            return lines
        if self._pending_cr:
            self._pending_cr = False
            newline = data.startswith(b"\n")
            if newline:
                data = data[1:]
                self._offset += 1
            lines.append(self._line(carriage=not newline))
        if data.endswith(b"\r"):  # whether a `\n` follows is known with the next bytes only
            data = data[:-1]
            self._pending_cr = True
        for piece in data.splitlines(keepends=True):  # of bytes: at \n, \r and \r\n alone
            self._offset += len(piece)
            if piece.endswith(b"\r\n"):
                self._keep(piece, len(piece) - 2)
                lines.append(self._line(carriage=False))
            elif piece.endswith((b"\n", b"\r")):
                self._keep(piece, len(piece) - 1)
                lines.append(self._line(carriage=piece.endswith(b"\r")))
            else:
                self._keep(piece, len(piece))
        if self._pending_cr:
            self._offset += 1
        return lines

    def flush(self) -> list[Line]:
        """What is left at the end of the file, as a last line."""
        if self._pending_cr:
            self._pending_cr = False
            return [self._line(carriage=True)]
        return [self._line(carriage=False)] if self._head or self._cut else []

    def _keep(self, piece: bytes, length: int) -> None:
        """Add the piece's first bytes to the line's head, as far as there is room."""
        taken = min(length, self._max - len(self._head))
        if taken:
            self._head += piece[:taken]
        self._cut += length - taken

    def _line(self, *, carriage: bool) -> Line:
        text = self._cut_text() if self._cut else self._head.decode("utf-8", errors="replace")
        self._head.clear()
        self._cut = 0
        return Line(text, self._offset, carriage)

    def _cut_text(self) -> str:
        """The head up to its last whole character, and how many bytes are missing."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        text = decoder.decode(bytes(self._head))
        half_a_character = len(decoder.getstate()[0])
        return f"{text} …[{self._cut + half_a_character} bytes cut]"
