"""The lanes of the daemon, one file each. A loop knows ports and pure code, never an adapter, never another loop."""
