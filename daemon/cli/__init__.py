"""The operator's command line: a client of the bus, with no way around it."""
