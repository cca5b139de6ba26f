"""The toolchain's in-memory twin: an ms-swift of a chosen version, known from the shipped tables."""

from daemon.adapters.memory_hooks import Hook, Hooked, no_hook
from daemon.ports import ToolchainError
from daemon.swift.installed import Installed, table_for


class MemoryToolchain(Hooked):
    """`ports.Toolchain` without an ms-swift; set `missing` to what a person would be told."""

    def __init__(
        self,
        version: str = "4.6.0",
        command: tuple[str, ...] = ("/env/bin/swift",),
        *,
        before_call: Hook = no_hook,
        after_call: Hook = no_hook,
    ) -> None:
        super().__init__(before_call, after_call)
        self.version = version
        self.missing: str | None = None
        self._command = command
        self._known: Installed | None = None

    @property
    def command(self) -> tuple[str, ...]:
        """The argument vector's prefix."""
        return self._command

    @property
    def known(self) -> Installed | None:
        """What was found, where somebody asked already."""
        return self._known

    async def installed(self) -> Installed:
        """The shipped table of the version. Raises `ToolchainError` where it is `missing`."""
        async with self.calling("installed"):
            if self._known is None:
                if self.missing is not None:
                    raise ToolchainError(self.missing)
                self._known = table_for(self.version)
            return self._known
