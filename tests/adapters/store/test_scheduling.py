"""What the scheduler and the supervisor ask the store: who waits, who holds devices, who runs where."""

from daemon.core.work import Held, Waiting, Work, WorkKind
from daemon.ports import Store
from schemas.enums import ExportStatus, TrainingStatus
from schemas.jobs import ExportOrder, Preemption, StopOrder, TrainingJob
from tests.adapters.store.records import at, changed, make_job, make_vlm_job


def queued(job_id: str, seconds: float, **fields: object) -> TrainingJob:
    return changed(make_job(job_id, status=TrainingStatus.QUEUED, queued_at=at(seconds)), internal={}, **fields)


def export_queued(job_id: str, seconds: float, **fields: object) -> TrainingJob:
    order = ExportOrder(checkpoint="/c", merge_lora=True, requested_at=at(seconds))
    job = make_vlm_job(job_id, status=TrainingStatus.COMPLETED, export_status=ExportStatus.QUEUED)
    return changed(job, internal={"export_order": order}, **fields)


async def test_work_waits_in_the_schedulers_order(store: Store) -> None:
    jobs = [
        queued("late", 9),
        queued("early", 1),
        queued("urgent", 20, priority=3),
        queued("b-same", 5),
        queued("a-same", 5),
        export_queued("export", 3),
        export_queued("urgent-export", 10, priority=3),
        make_job("pending"),
        make_job("running", status=TrainingStatus.RUNNING),
    ]
    for job in jobs:
        await store.insert_job(job)
    expected = ["urgent-export", "urgent", "early", "export", "a-same", "b-same", "late"]
    assert [work.job_id for work in (await store.waiting(100)).work] == expected
    assert [work.job_id for work in (await store.waiting(4)).work] == expected[:4]
    assert await store.waiting(0) == Waiting()
    assert await store.count_waiting() == 7
    for job in (job for job in jobs if job.status is TrainingStatus.QUEUED):
        assert await store.count_waiting(before=job) == expected.index(job.id)


async def test_work_says_what_the_scheduler_needs(store: Store) -> None:
    pinned = queued("pinned", 1, gpu_id="2,0", owner="ann", wait_reason="no device")
    told = {"not_before": at(60), "avoid_devices": (1, 3), "avoid_node": "n"}
    await store.insert_job(changed(pinned, node_id="other", internal=told))
    await store.insert_job(queued("counted", 2, gpu_count=4))
    await store.insert_job(export_queued("export", 3, gpu_id="0,1"))
    assert list((await store.waiting(10)).work) == [
        Work(
            job_id="pinned",
            kind=WorkKind.TRAIN,
            priority=0,
            queued_at=at(1),
            count=2,
            pinned=(2, 0),
            not_before=at(60),
            avoid=(("n", 1), ("n", 3)),
            owner="ann",
            wait_reason="no device",
        ),
        Work(job_id="counted", kind=WorkKind.TRAIN, priority=0, queued_at=at(2), count=4),
        Work(job_id="export", kind=WorkKind.EXPORT, priority=0, queued_at=at(3), count=1, training_type="vlm"),
    ]


async def test_devices_to_avoid_of_an_older_document_are_those_of_its_last_node(store: Store) -> None:
    await store.insert_job(changed(queued("old", 1), node_id="n", internal={"avoid_devices": (1,)}))
    (work,) = (await store.waiting(10)).work
    assert work.avoid == (("n", 1),)


async def test_trainings_and_exports_hold_devices(store: Store) -> None:
    for status in TrainingStatus:
        await store.insert_job(make_job(f"t-{status}", status=status, node_id="n", devices=(0, 1)))
    for status in ExportStatus:
        job = make_job(f"x-{status}", status=TrainingStatus.COMPLETED, export_status=status, node_id="n", devices=(0,))
        await store.insert_job(changed(job, internal={"export_node_id": "m", "export_devices": (3,)}))
    assert await store.held() == [
        Held("t-running", WorkKind.TRAIN, "n", (0, 1), yields_to=0),
        Held("t-starting", WorkKind.TRAIN, "n", (0, 1), yields_to=0),
        Held("t-stopping", WorkKind.TRAIN, "n", (0, 1)),
        Held("x-running", WorkKind.EXPORT, "m", (3,)),
    ]
    assert [job.id for job in await store.jobs_on("n")] == ["t-running", "t-starting", "t-stopping"]
    assert [job.id for job in await store.jobs_on("m")] == ["x-running"]
    assert await store.jobs_on("elsewhere") == []


async def test_wait_reasons_are_noted_while_a_job_waits(store: Store) -> None:
    await store.insert_job(queued("q", 1))
    await store.insert_job(export_queued("x", 1))
    running = make_job("r", status=TrainingStatus.RUNNING)
    await store.insert_job(running)
    await store.note_wait_reasons({"q": "no device", "x": "after q", "r": "no", "gone": "no"})
    assert [work.wait_reason for work in (await store.waiting(10)).work] == ["no device", "after q"]
    assert await store.get_job("r") == running
    await store.note_wait_reasons({})


async def test_a_long_queue_is_read_owner_by_owner(store: Store) -> None:
    for number in range(20):
        await store.insert_job(queued(f"a{number:02}", number, owner="ann", priority=5))
    for number in range(2):
        await store.insert_job(queued(f"b{number:02}", 100 + number, owner="bob"))
    await store.insert_job(export_queued("x", 200))
    whole = await store.waiting(23)
    assert (len(whole.work), whole.cut) == (23, frozenset())
    part = await store.waiting(6)
    assert [work.job_id for work in part.work] == ["a00", "a01", "b00", "b01", "x"]
    assert part.cut == {"ann"}
    assert (await store.waiting(3)).cut == {"ann", "bob"}


async def test_an_owners_queue_is_counted(store: Store) -> None:
    for job in (queued("a", 1, owner="ann"), queued("b", 2, owner="ann"), queued("c", 3), make_job("d", owner="ann")):
        await store.insert_job(job)
    assert await store.count_queued("ann") == 2
    assert await store.count_queued(None) == 1
    assert await store.count_queued("bob") == 0


async def test_who_comes_after_whom(store: Store) -> None:
    await store.insert_job(make_job("first", status=TrainingStatus.RUNNING))
    for job_id, status in (("z", "pending"), ("b", "queued"), ("c", "running"), ("d", "cancelled")):
        await store.insert_job(make_job(job_id, status=TrainingStatus(status), after=["first", "other"]))
    assert await store.dependents("first", 5) == ["b", "z"]
    assert await store.dependents("first", 1) == ["b"]
    assert await store.dependents("first", 0) == []
    assert await store.dependents("b", 5) == []
    assert await store.statuses(["first", "z", "nobody"]) == {
        "first": TrainingStatus.RUNNING,
        "z": TrainingStatus.PENDING,
    }
    assert await store.statuses([]) == {}


async def test_work_says_which_devices_it_wants_and_when(store: Store) -> None:
    job = queued(
        "j",
        1,
        gpu_memory_mib=40_000,
        gpu_name="*H100*",
        timeout_seconds=60,
        after=["first"],
        after_policy="always",
        not_before=at(500),
    )
    await store.insert_job(changed(job, internal={"not_before": at(60)}))
    (work,) = (await store.waiting(10)).work
    assert (work.memory_mib, work.device_name, work.timeout_s) == (40_000, "*H100*", 60)
    assert (work.after, work.after_always, work.not_before) == (("first",), True, at(500))


async def test_what_runs_says_whose_it_is_and_when_it_ends(store: Store) -> None:
    running = make_job(status=TrainingStatus.RUNNING, node_id="n", devices=(1,), started_at=at(5), priority=3)
    await store.insert_job(changed(running, id="limited", owner="ann", timeout_seconds=60))
    await store.insert_job(changed(running, id="unlimited", timeout_seconds=1e12))
    giving_way = Preemption(grace_s=30, requested_at=at(100), reason="for another")
    await store.insert_job(changed(running, id="way", timeout_seconds=60, internal={"preemption": giving_way}))
    order = StopOrder(grace_s=10, save=False, requested_at=at(100))
    stopping = changed(running, id="stopping", status=TrainingStatus.STOPPING, internal={"stop": order})
    await store.insert_job(stopping)
    assert await store.held() == [
        Held("limited", WorkKind.TRAIN, "n", (1,), "ann", until=at(65), yields_to=3, since=at(5)),
        Held("stopping", WorkKind.TRAIN, "n", (1,), until=at(110), since=at(5)),
        Held("unlimited", WorkKind.TRAIN, "n", (1,), yields_to=3, since=at(5)),
        Held("way", WorkKind.TRAIN, "n", (1,), until=at(130), since=at(5)),
    ]
