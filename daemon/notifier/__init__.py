"""`swift-trainer notify`: tells people and programs of jobs, by rules in a file.

A process of its own and a client of the bus: it can die, hang or be absent, and no job notices. `listening` takes an
event from a durable queue; `intake` drops what was seen before, asks the rules (`matching`), words the messages
(`wording`) and writes one delivery a target into the spool (`spool`, SQLite); only then is it acknowledged. `lanes`
brings deliveries out, one lane a target, so that a dead target delays no other. `service` starts and ends it all.

Why a spool: a target may be down for an hour. Were its events left unacknowledged at the broker until they are told,
they would fill the prefetch window and keep every other event from every other target.

A crash after the spool has an event and before the broker has the acknowledgement brings the event again; its id is
known, and it is dropped. A crash after a target was told and before the spool has that tells it again: at least once,
and a webhook's `webhook-id` is the event's id, the same each time.

Where targets are comes from the operator's file alone, never from a message: no event can make this process call an
address of somebody's choice.
"""
