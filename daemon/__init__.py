"""The daemon, its operator's command line and the client they share. `ARCHITECTURE.md` has the map."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("swift-trainer")
except PackageNotFoundError:  # run from a checkout that was not installed
    __version__ = "0+unknown"
