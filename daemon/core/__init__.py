"""Pure decisions: no I/O, no asyncio, no clock. Times and ids come in as arguments, changes go out as values."""
