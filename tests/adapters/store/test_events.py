"""Outboxes, the history of events, remembered replies and nodes."""

from daemon.ports import Store, Subject
from schemas.enums import NodeState
from schemas.events import Device
from schemas.jobs import Deletion
from schemas.nodes import NodeInternal, NodeRecord
from tests.adapters.store.records import at, make_event, make_job, make_node, with_events


async def sequences(store: Store, after: int, limit: int) -> list[int | None]:
    return [event.sequence for event in await store.events("a", after, limit)]


async def test_published_events_move_from_the_outbox_to_the_history(store: Store) -> None:
    job = with_events(make_job(), 1, 2, 3)
    await store.insert_job(job)
    assert await store.outbox(Subject.JOB, "a") == job.internal.outbox
    assert await store.outbox(Subject.JOB, "b") == ()
    for _ in range(2):
        await store.outbox_done(Subject.JOB, "a", job.internal.outbox[:2])
        assert [event.sequence for event in await store.outbox(Subject.JOB, "a")] == [3]
        assert await store.events("a", 0, 10) == [item.event for item in job.internal.outbox]
    await store.outbox_done(Subject.JOB, "a", ())
    await store.outbox_done(Subject.JOB, "a", job.internal.outbox)  # two known ones and a new one
    assert await store.outbox_subjects(10) == []
    assert await sequences(store, 0, 10) == [1, 2, 3]


async def test_events_are_read_by_sequence_from_history_and_outbox(store: Store) -> None:
    job = with_events(make_job(), *range(1, 8))
    await store.insert_job(job)
    await store.outbox_done(Subject.JOB, "a", job.internal.outbox[:4])
    assert await sequences(store, 0, 100) == [1, 2, 3, 4, 5, 6, 7]
    assert await sequences(store, 2, 3) == [3, 4, 5]
    assert await sequences(store, 7, 3) == []
    assert await sequences(store, 0, 0) == []
    assert await store.events("b", 0, 10) == []


async def test_events_of_a_job_deleted_meanwhile_leave_nothing_behind(store: Store) -> None:
    job = with_events(make_job(), 1)
    await store.insert_job(job)
    await store.delete_job(job)
    await store.outbox_done(Subject.JOB, "a", job.internal.outbox)
    assert await store.events("a", 0, 10) == []


async def test_outboxes_are_found_oldest_first(store: Store) -> None:
    await store.insert_job(with_events(make_job("young"), 1, seconds=9))
    await store.insert_job(with_events(with_events(make_job("old"), 1, seconds=1), 2, seconds=20))
    await store.insert_job(make_job("none"))
    node = make_node()
    await store.put_node(node)
    told = NodeInternal(sequence=1, outbox=(make_event(1, subject="n", seconds=5),))
    assert await store.update_node(node, node.model_copy(update={"internal": told}))
    expected = [(Subject.JOB, "old"), (Subject.NODE, "n"), (Subject.JOB, "young")]
    assert await store.outbox_subjects(10) == expected
    assert await store.outbox_subjects(2) == expected[:2]
    await store.outbox_done(Subject.NODE, "n", await store.outbox(Subject.NODE, "n"))
    assert await store.outbox(Subject.NODE, "n") == ()
    assert len(await store.outbox_subjects(10)) == 2


async def test_the_first_reply_to_a_message_is_the_one_that_is_kept(store: Store) -> None:
    assert await store.find_reply("m") is None
    assert await store.remember_reply("m", b'{"ok": true}\xff') is True
    assert await store.remember_reply("m", b"second") is False
    assert await store.find_reply("m") == b'{"ok": true}\xff'


async def test_the_newest_word_on_a_deletion_is_kept(store: Store) -> None:
    assert await store.deletion("a") is None
    first = Deletion(revision=3, message_id=None, message="deleted")
    for kept in (first, Deletion(revision=4, message_id="m", message="deleted with its run folder")):
        await store.note_deletion("a", kept)
        assert await store.deletion("a") == kept


async def test_a_heartbeat_leaves_the_nodes_state_alone(store: Store) -> None:
    node = make_node(reason="new")
    await store.put_node(node)
    assert await store.get_node("n") == node
    drained = node.model_copy(update={"state": NodeState.DRAINED, "reason": "by ann"})
    assert await store.update_node(node, drained)
    beat = make_node(
        state=NodeState.ONLINE,
        last_heartbeat=at(9),
        versions={"ms-swift": "4.7.0"},
        devices=(Device(node_id="n", index=1, name="gpu"),),
        internal=NodeInternal(revision=70),
    )
    await store.put_node(beat)
    now = await store.get_node("n")
    expected = NodeRecord.model_validate(
        {**beat.model_dump(), "state": NodeState.DRAINED, "reason": "by ann", "internal": NodeInternal(revision=1)}
    )
    assert now == expected


async def test_a_stale_update_of_a_node_says_false(store: Store) -> None:
    node = make_node()
    await store.put_node(node)
    assert await store.update_node(node, node.model_copy(update={"reason": "first"}))
    assert not await store.update_node(node, node.model_copy(update={"reason": "second"}))
    assert not await store.update_node(make_node("gone"), make_node("gone", reason="x"))
    now = await store.get_node("n")
    assert now is not None
    assert now.reason == "first"


async def test_a_heartbeat_with_a_lost_lease_writes_nothing(store: Store) -> None:
    node = make_node()
    assert await store.put_node(node)
    lost = node.model_copy(update={"internal": NodeInternal(epoch=1)})
    assert await store.update_node(node, lost)
    assert not await store.put_node(make_node(last_heartbeat=at(9)))
    assert not await store.put_node(make_node(last_heartbeat=at(9), internal=NodeInternal(epoch=2)))
    now = await store.get_node("n")
    assert now is not None
    assert (now.last_heartbeat, now.internal.epoch) == (node.last_heartbeat, 1)
    assert await store.put_node(make_node(last_heartbeat=at(9), internal=NodeInternal(epoch=1)))


async def test_a_heartbeat_makes_an_older_update_of_its_node_fail(store: Store) -> None:
    node = make_node()
    await store.put_node(node)
    await store.put_node(make_node(last_heartbeat=at(9)))
    assert not await store.update_node(node, node.model_copy(update={"reason": "lost"}))


async def test_a_forgotten_node_is_left_out_until_it_sends_a_heartbeat(store: Store) -> None:
    node = make_node(internal=NodeInternal(epoch=3))
    assert await store.put_node(node)
    forgotten = node.model_copy(update={"internal": NodeInternal(epoch=3, sequence=7, forgotten=True)})
    assert await store.update_node(node, forgotten)
    assert await store.nodes() == []
    kept = await store.get_node("n")
    assert kept is not None
    assert (kept.internal.forgotten, kept.internal.epoch) == (True, 3)
    assert not await store.put_node(make_node(last_heartbeat=at(9))), "it can't leave its lost lease behind that way"
    assert await store.put_node(make_node(last_heartbeat=at(9), internal=NodeInternal(epoch=3)))
    [back] = await store.nodes()
    assert (back.internal.forgotten, back.internal.sequence, back.last_heartbeat) == (False, 7, at(9))


async def test_a_node_that_beats_just_then_is_not_forgotten(store: Store) -> None:
    node = make_node()
    await store.put_node(node)
    await store.put_node(make_node(last_heartbeat=at(9)))
    assert not await store.update_node(node, node.model_copy(update={"internal": NodeInternal(forgotten=True)}))
    assert [node.node_id for node in await store.nodes()] == ["n"]


async def test_nodes_come_by_id(store: Store) -> None:
    for node_id in ("b", "c", "a"):
        await store.put_node(make_node(node_id))
    assert [node.node_id for node in await store.nodes()] == ["a", "b", "c"]
    assert await store.get_node("d") is None
