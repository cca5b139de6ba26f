"""The HTTP face: a client of the bus that speaks REST and server-sent events, and serves the page."""
