"""The daemon, its operator's command line and the client they share. `ARCHITECTURE.md` has the map."""
