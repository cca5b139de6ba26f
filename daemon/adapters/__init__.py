"""The real things behind the ports, one file each, and their in-memory twins. Both pass the same contract tests."""
