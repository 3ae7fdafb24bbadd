"""The worker against a fake master and a fake engine: what it does when messages are lost, late, stale or unwelcome."""

import asyncio
import os
import select
from pathlib import Path

import pytest
from fake_engine import FakeEngine, spec
from fake_master import FakeMaster
from farm_worker import running
from msgspec.structs import force_setattr

from millrace.client.errors import UnauthorizedError
from millrace.process.look import read_process
from millrace.worker import claims
from millrace.worker.identity import StateBusyError, StateFolder, StateUnusableError

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def farm(scenario, tmp_path, **terms):
    """Run `scenario(master, worker, engine)` with a started worker."""

    async def main():
        ttl_s, heartbeat_s = terms.pop("ttl_s", 15.0), terms.pop("heartbeat_s", 0.1)
        with FakeMaster(ttl_s=ttl_s, heartbeat_s=heartbeat_s) as master:
            engine = FakeEngine(tmp_path / "engine")
            async with running(master, tmp_path, [engine.source()], roots=[tmp_path / "media"], **terms) as worker:
                await scenario(master, worker, engine)
        assert_clean(tmp_path)

    (tmp_path / "media").mkdir()
    asyncio.run(main())


def assert_clean(tmp_path):
    assert list((tmp_path / "scratch" / "attempts").iterdir()) == []
    assert list((tmp_path / "scratch" / "engines").iterdir()) == []


async def gone(pid):
    """Wait for the end of a process."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, ended.set)
    await asyncio.wait_for(ended.wait(), 30)
    asyncio.get_running_loop().remove_reader(descriptor)
    os.close(descriptor)


def test_a_task_runs_and_its_output_is_kept_by_the_master(tmp_path):
    async def scenario(master, worker, engine):
        task = master.add(spec())
        await engine.begun()
        await master.until(lambda: task.state == "processing")
        engine.tell("finish")
        await master.until(lambda: task.state == "completed")
        assert master.stored[(task.id, "video.mp4")] == b"video"
        assert [one.name for one in task.outputs] == ["video.mp4", "proof.json"]
        assert task.outputs[0].size == 5
        assert task.facts["plan"]["frames"] == 30
        assert any(report.fraction > 0.9 for report in task.reports) or task.reports
        assert "engine speaks: begin" in task.log
        assert "encode: exited with code 0" in task.log
        assert "as planned (1 file, " in task.log

    farm(scenario, tmp_path)


def test_the_whole_log_is_there_before_the_end_is_reported(tmp_path):
    async def scenario(master, worker, engine):
        lost = iter(["lost-reply", "lost-request", "503"])
        master.fault = lambda call: next(lost, None) if call.endswith("/log") else None
        task = master.add(spec())
        await engine.begun()
        engine.tell("lines")
        assert await engine.heard() == "done"
        engine.tell("fail")
        await master.until(lambda: task.state == "failed")
        wanted = [f"engine line {number}" for number in range(2000)]
        assert [line for line in task.log.splitlines() if line.startswith("engine line")] == wanted
        assert task.log.splitlines()[-1].endswith(task.failure[1])

    farm(scenario, tmp_path)


@pytest.mark.parametrize("fault", ["lost-reply", "lost-request", "503"])
@pytest.mark.parametrize("path", ["/v1/nodes", "/claim", "/start", "/outputs/video.mp4", "/complete"])
def test_a_message_that_is_lost_is_repeated_and_changes_nothing(tmp_path, path, fault):
    async def main():
        # A slow heartbeat: after a lost answer its directive would say first that the task is over.
        with FakeMaster(heartbeat_s=5.0) as master:
            faults = [fault, fault]
            master.fault = lambda call: faults.pop() if call.endswith(path) and faults else None
            task = master.add(spec())
            engine = FakeEngine(tmp_path / "engine")
            async with running(master, tmp_path, [engine.source()]):
                await engine.begun()
                engine.tell("finish")
                await master.until(lambda: task.state == "completed" and not faults)
            assert (task.attempt, engine.encoded) == (1, 1)

    asyncio.run(main())


def test_a_failure_is_reported_with_its_class(tmp_path):
    async def scenario(master, worker, engine):
        task = master.add(spec())
        await engine.begun()
        engine.tell("fail")
        await master.until(lambda: task.state == "failed")
        assert task.failure == ("engine", "The engine ended with 3: ['engine speaks: broken']")

    farm(scenario, tmp_path)


def test_an_output_that_is_not_as_planned_fails_and_is_not_published(tmp_path):
    async def scenario(master, worker, engine):
        engine.findings = True
        task = master.add(spec())
        await engine.begun()
        engine.tell("finish")
        await master.until(lambda: task.state == "failed")
        assert task.failure[0] == "output"
        assert "has 25 frames; planned: 30" in task.failure[1]
        assert master.stored == {}

    farm(scenario, tmp_path)


def test_cancel_ends_the_engine_and_reports_nothing(tmp_path):
    async def scenario(master, worker, engine):
        task = master.add(spec())
        pid = await engine.begun()
        master.change(task, state="canceled")
        await gone(pid)
        await worker.wait_idle()
        assert task.state == "canceled"
        assert master.count("/fail") + master.count("/hand-back") + master.count("/complete") == 0

    farm(scenario, tmp_path)


@pytest.mark.parametrize("path", ["/start", "/complete", "/outputs/video.mp4"])
def test_a_stale_answer_ends_the_attempt_and_nothing_more_is_said(tmp_path, path):
    async def scenario(master, worker, engine):
        stolen = []

        def fault(call):
            if call.endswith(path) and not stolen:
                stolen.append(call)
                task.attempt += 1  # another worker has it
                task.node = "n-other"

        master.fault = fault
        task = master.add(spec())
        if path != "/start":
            await engine.begun()
            engine.tell("finish")
        await master.until(lambda: bool(stolen))
        await worker.wait_idle()
        assert task.state in ("assigned", "processing")
        assert master.count("/fail") + master.count("/hand-back") == 0

    farm(scenario, tmp_path)


def test_pause_stops_the_process_and_resume_lets_it_go_on(tmp_path):
    async def scenario(master, worker, engine):
        task = master.add(spec())
        pid = await engine.begun()
        master.change(task, state="paused", paused=True)
        await master.until(lambda: task.reports and task.reports[-1].paused)
        assert read_process(pid).stopped
        master.change(task, state="processing", paused=False)
        await master.until(lambda: not task.reports[-1].paused)
        assert not read_process(pid).stopped
        engine.tell("finish")
        await master.until(lambda: task.state == "completed")

    farm(scenario, tmp_path)


def test_a_paused_task_can_be_canceled(tmp_path):
    async def scenario(master, worker, engine):
        task = master.add(spec())
        pid = await engine.begun()
        master.change(task, state="paused", paused=True)
        await master.until(lambda: task.reports and task.reports[-1].paused)
        master.change(task, state="canceled", paused=False)
        await gone(pid)

    farm(scenario, tmp_path)


@pytest.mark.parametrize("verb", ["drain", "hurry"])
def test_a_paused_task_does_not_hold_the_end_of_a_worker_up(tmp_path, verb):
    async def scenario(master, worker, engine):
        task = master.add(spec())
        pid = await engine.begun()
        master.change(task, state="paused", paused=True)
        await master.until(lambda: task.reports and task.reports[-1].paused)
        getattr(worker, verb)()
        await worker.wait_drained()
        await gone(pid)
        assert task.state == "handed_back"

    farm(scenario, tmp_path)


def test_a_worker_with_a_wrong_key_does_not_start(tmp_path):
    async def main():
        with FakeMaster() as master:
            master.fault = lambda _: "401"
            with pytest.raises(UnauthorizedError):
                async with running(master, tmp_path, [FakeEngine(tmp_path / "engine").source()]):
                    pass
            master.fault = lambda _: None
            async with running(master, tmp_path, [FakeEngine(tmp_path / "engine").source()]) as worker:
                assert worker.node

    asyncio.run(main())


def test_drain_finishes_what_runs_and_takes_no_more(tmp_path):
    async def scenario(master, worker, engine):
        first = master.add(spec())
        await engine.begun()
        worker.drain()
        second = master.add(spec())
        engine.tell("finish")
        await worker.wait_drained()
        assert (first.state, second.state) == ("completed", "queued")

    farm(scenario, tmp_path)


def test_drain_ends_a_long_poll_at_once(tmp_path):
    async def scenario(master, worker, engine):
        await master.until(lambda: master.count("/claim") > 0)
        worker.drain()
        await asyncio.wait_for(worker.wait_drained(), 30)

    farm(scenario, tmp_path, claim_wait_s=60.0)


def test_what_an_interrupted_claim_was_given_goes_back(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "LAST_CLAIM_PATIENCE_S", 60.0)  # three seconds are little where others want the cores

    async def scenario(master, worker, engine):
        def holds(call):  # whichever claim brings it: on a busy machine the one that waits may end before
            return "held-reply" if call.endswith("/claim") and master.count("/claim") >= 2 else None

        master.fault = holds
        await master.until(lambda: master.count("/claim") == 1)
        first = master.add(spec())
        await engine.begun()
        engine.tell("finish")
        await master.until(lambda: first.state == "completed" and master.count("/claim") >= 2)
        second = master.add(spec())
        await master.until(lambda: second.state == "assigned")
        master.fault = lambda _: None
        worker.drain()
        await worker.wait_drained()
        assert second.state == "handed_back"
        assert engine.encoded == 1

    farm(scenario, tmp_path)


def test_nothing_is_published_under_an_attempt_that_was_given_away(tmp_path):
    out = tmp_path / "media" / "out"

    async def scenario(master, worker, engine):
        task = master.add(spec(output=str(out)))
        await engine.begun()
        master.change(task, attempt=2, node="n-other")  # and the next heartbeat is far away
        engine.tell("finish")
        await worker.wait_idle()
        assert not out.exists()
        assert master.count("/complete") + master.count("/fail") == 0

    farm(scenario, tmp_path, heartbeat_s=60.0, ttl_s=300.0)


def test_an_output_that_appears_meanwhile_is_not_replaced(tmp_path):
    out = tmp_path / "media" / "out"

    async def scenario(master, worker, engine):
        task = master.add(spec(output=str(out)))
        await engine.begun()
        out.mkdir()
        (out / "precious").write_text("precious")
        engine.tell("finish")
        await master.until(lambda: task.state == "failed")
        assert task.failure[0] == "output_exists"
        assert [path.name for path in out.iterdir()] == ["precious"]

    farm(scenario, tmp_path)


def test_a_failure_that_comes_after_the_lease_is_not_reported(tmp_path):
    async def scenario(master, worker, engine):
        task = master.add(spec())
        await engine.begun()
        # The lease has passed, and the event loop sees the engine's end before the guard has spoken.
        force_setattr(worker._runner.means, "holds", lambda: False)
        engine.tell("fail")
        await worker.wait_idle()
        assert task.state == "processing"
        assert master.count("/fail") == 0

    farm(scenario, tmp_path)


def test_hurry_hands_back_at_once_without_an_attempt(tmp_path):
    async def scenario(master, worker, engine):
        task = master.add(spec())
        pid = await engine.begun()
        worker.drain()
        worker.hurry()
        await worker.wait_drained()
        assert task.state == "handed_back"
        await gone(pid)

    farm(scenario, tmp_path)


def test_hurry_does_not_wait_for_a_master_that_is_gone(tmp_path):
    async def scenario(master, worker, engine):
        task = master.add(spec())
        pid = await engine.begun()
        master.fault = lambda _: "lost-request"
        worker.hurry()
        await asyncio.wait_for(worker.wait_drained(), 20)
        await gone(pid)
        assert task.state == "processing"

    farm(scenario, tmp_path)


def test_a_master_may_drain_and_resume_a_worker(tmp_path):
    async def scenario(master, worker, engine):
        master.drain = True
        await master.until(lambda: master.beats > 2)
        beats = master.beats
        task = master.add(spec())
        await master.until(lambda: master.beats > beats + 2)
        assert task.state == "queued"
        master.drain = False
        await engine.begun()
        engine.tell("finish")
        await master.until(lambda: task.state == "completed")

    farm(scenario, tmp_path, claim_wait_s=0.2)


def test_work_is_handed_back_below_the_disk_threshold(tmp_path):
    async def scenario(master, worker, engine):
        task = master.add(spec())
        await master.until(lambda: task.state == "handed_back")
        assert "too little room" in task.reason
        assert engine.encoded == 0

    farm(scenario, tmp_path, keep_free_bytes=1 << 60)


def test_an_engine_is_dead_before_the_lease_can_be_given_away(tmp_path):
    async def scenario(master, worker, engine):
        task = master.add(spec())
        pid = await engine.begun()
        await master.until(lambda: bool(task.reports))
        silent_since = asyncio.get_running_loop().time()
        master.fault = lambda call: "lost-request"
        await gone(pid)
        assert asyncio.get_running_loop().time() - silent_since < 2.0
        await worker.wait_idle()
        assert task.state == "processing"
        master.change(task, state="queued", node=None)
        master.fault = lambda call: None
        await engine.begun()
        engine.tell("finish")
        await master.until(lambda: task.state == "completed")
        assert task.attempt == 2

    farm(scenario, tmp_path, ttl_s=2.0, heartbeat_s=0.2)


def test_a_task_whose_lease_ended_in_a_short_outage_is_handed_back_with_the_reason(tmp_path):
    async def scenario(master, worker, engine):
        task = master.add(spec())
        pid = await engine.begun()
        await master.until(lambda: bool(task.reports))
        master.fault = lambda call: "lost-request"
        await gone(pid)
        await worker.wait_idle()
        master.unlisted.clear()
        master.fault = lambda call: None  # and the node was not called lost meanwhile
        await master.until(lambda: task.state == "handed_back")
        assert "no master answered" in task.reason
        assert not master.unlisted  # or the master would take it for a claim that was lost on its way
        await master.until(lambda: not worker._board.reports())

    farm(scenario, tmp_path, ttl_s=2.0, heartbeat_s=0.2)


def test_the_lease_is_guarded_while_the_event_loop_hangs(tmp_path):
    async def scenario(master, worker, engine):
        task = master.add(spec())
        pid = await engine.begun()
        await master.until(lambda: bool(task.reports))
        descriptor = os.pidfd_open(pid)
        master.fault = lambda call: "lost-request"
        # The whole loop stands still here: only the threads of the heartbeat can end the engine.
        ended = select.select([descriptor], [], [], 10)[0]
        os.close(descriptor)
        assert ended
        await worker.wait_idle()
        assert master.count("/fail") == 0

    farm(scenario, tmp_path, ttl_s=1.5, heartbeat_s=0.2)


def test_heartbeats_come_while_the_event_loop_hangs(tmp_path):
    async def scenario(master, worker, engine):
        task = master.add(spec())
        pid = await engine.begun()
        beats = master.beats
        master.wait(lambda: master.beats > beats + 3)  # blocks the loop of the worker
        assert read_process(pid).alive
        engine.tell("finish")
        await master.until(lambda: task.state == "completed")

    farm(scenario, tmp_path)


def test_trouble_with_the_heartbeat_is_said_once_and_that_it_is_over(tmp_path, caplog):
    def said(event):
        return sum(event in record.getMessage() for record in caplog.records)

    async def scenario(master, worker, engine):
        master.fault = lambda call: "507" if call.endswith("/heartbeat") else None
        calls = master.count("/heartbeat")
        await master.until(lambda: master.count("/heartbeat") > calls + 5)
        assert said("worker.heartbeat_failed") == 1
        master.fault = lambda call: None
        beats = master.beats
        await master.until(lambda: master.beats > beats + 2)
        assert (said("worker.heartbeat_failed"), said("worker.heartbeat_answered")) == (1, 1)

    with caplog.at_level("INFO"):
        farm(scenario, tmp_path)


def test_a_worker_whose_epoch_is_over_ends_its_work_and_registers_anew(tmp_path):
    async def scenario(master, worker, engine):
        task = master.add(spec())
        pid = await engine.begun()
        with master.changed:
            for node in master.nodes.values():
                node["lost"] = True
            task.state, task.node = "queued", None
        await gone(pid)
        await master.until(lambda: task.attempt == 2)
        await engine.begun()
        engine.tell("finish")
        await master.until(lambda: task.state == "completed")
        assert [node["epoch"] for node in master.nodes.values()] == [2]
        assert master.count("/fail") == 0

    farm(scenario, tmp_path)


def test_the_next_master_is_asked_when_one_is_dead(tmp_path):
    async def main():
        with FakeMaster(heartbeat_s=0.1) as dead:
            dead_url = dead.url
        with FakeMaster(heartbeat_s=0.1) as master:
            engine = FakeEngine(tmp_path / "engine")
            task = master.add(spec())
            async with running(master, tmp_path, [engine.source()], urls=[dead_url, master.url]):
                await engine.begun()
                engine.tell("finish")
                await master.until(lambda: task.state == "completed")

    asyncio.run(main())


def test_the_same_node_after_a_restart_with_another_boot(tmp_path):
    async def main():
        with FakeMaster() as master:
            engine = FakeEngine(tmp_path / "engine")
            boots = []
            for _ in range(2):
                async with running(master, tmp_path, [engine.source()]):
                    (node,) = master.nodes.values()
                    boots.append(node["boot"])
            assert len(set(boots)) == 2
            assert (tmp_path / "engine" / "proofs").read_text() == "libx264\n"

    asyncio.run(main())


def test_two_workers_do_not_share_a_state_folder(tmp_path):
    async def scenario(master, worker, engine):
        with pytest.raises(StateBusyError, match=f"pid {os.getpid()} uses it"):
            async with running(master, tmp_path, [engine.source()]):
                pass

    farm(scenario, tmp_path)


def test_a_job_without_progress_and_without_cpu_is_ended(tmp_path):
    async def scenario(master, worker, engine):
        task = master.add(spec())
        await engine.begun()
        await master.until(lambda: task.state == "failed")
        assert task.failure[0] == "stalled"

    farm(scenario, tmp_path, stall_s=0.8)


def test_a_job_that_computes_is_not_stalled_and_ends_at_its_time_limit(tmp_path):
    async def scenario(master, worker, engine):
        task = master.add(spec(), timeout_s=2.5)
        pid = await engine.begun()
        engine.tell("spin")
        await master.until(lambda: task.state == "failed")
        assert task.failure[0] == "timeout"
        await gone(pid)

    farm(scenario, tmp_path, stall_s=0.8)


def test_the_reasons_of_encoders_reach_the_master(tmp_path):
    async def main():
        with FakeMaster() as master:
            engine = FakeEngine(tmp_path / "engine")
            async with running(master, tmp_path, [engine.source(("libx264", "broken"))]):
                (node,) = master.nodes.values()
                assert node["request"].encoders == {"libx264": "", "broken": "no such device (exited with code 1)"}

    asyncio.run(main())


def test_several_slots_run_at_the_same_time(tmp_path):
    async def main():
        with FakeMaster(heartbeat_s=0.1) as master:
            engine = FakeEngine(tmp_path / "engine")
            tasks = [master.add(spec()) for _ in range(3)]
            async with running(master, tmp_path, [engine.source()], slots=2) as worker:
                await master.until(lambda: [task.state for task in tasks] == ["processing", "processing", "queued"])
                assert worker.holding == 2

    asyncio.run(main())
    assert_clean(tmp_path)


def test_inputs_that_are_not_allowed_start_nothing(tmp_path):
    media = tmp_path / "media"
    outside = tmp_path / "secret.mp4"
    outside.write_text("video")

    def prepare():
        (media / "link.mp4").symlink_to(outside)
        (media / "empty.mp4").touch()
        (media / "folder").mkdir()
        os.mkfifo(media / "fifo")

    cases = {
        str(outside): "request",
        "link": "request",
        f"{media}/../secret.mp4": "request",
        "file:///etc/passwd": "request",
        "concat:/etc/passwd": "request",
        "-i": "request",
        "relative.mp4": "request",
        "ftp://host/film.mp4": "request",
        "s3://bucket/film.mp4": "capability",
        "gone": "input",
        "empty": "input",
        "folder": "input",
        "fifo": "input",
    }
    short = {"link": "link.mp4", "gone": "gone.mp4", "empty": "empty.mp4", "folder": "folder", "fifo": "fifo"}

    async def scenario(master, worker, engine):
        prepare()
        for location, wanted in cases.items():
            path = str(media / short[location]) if location in short else location
            task = master.add(spec(input=path))
            await master.until(lambda task=task: task.state == "failed", location)
            assert task.failure[0] == wanted, (location, task.failure)
            assert task.failure[1].startswith("cannot ")
            assert "probe" not in task.log
        assert engine.encoded == 0

    farm(scenario, tmp_path)


def test_outputs_that_are_not_allowed_start_nothing(tmp_path):
    media = tmp_path / "media"

    async def scenario(master, worker, engine):
        taken = media / "taken"
        taken.mkdir()
        (taken / "film.mp4").write_text("precious")
        (media / "out").symlink_to(tmp_path)
        cases = {
            str(tmp_path / "elsewhere"): "request", str(media): "request", f"{media}/../x": "request", "-o": "request",
            str(media / "out" / "x"): "request", str(taken): "output_exists", "ftp://host/x": "request",
        }  # fmt: skip
        for location, wanted in cases.items():
            task = master.add(spec(output=location))
            await master.until(lambda task=task: task.state == "failed", location)
            assert task.failure[0] == wanted, (location, task.failure)
        assert engine.encoded == 0
        assert (taken / "film.mp4").read_text() == "precious"

    farm(scenario, tmp_path)


def test_overwriting_replaces_the_whole_folder(tmp_path):
    out = tmp_path / "media" / "out"

    async def scenario(master, worker, engine):
        out.mkdir()
        (out / "old.ts").write_text("old")
        (out / ".millrace.json").write_text('{"job": "j0", "attempt": 1, "outputs": [{"name": "old.ts"}]}')
        task = master.add(spec(output=str(out), overwrite=True))
        await engine.begun()
        assert (out / "old.ts").exists()
        engine.tell("finish")
        await master.until(lambda: task.state == "completed")
        assert sorted(path.name for path in out.iterdir()) == [".millrace.json", "proof.json", "video.mp4"]

    farm(scenario, tmp_path)


def test_a_second_attempt_may_replace_what_the_first_published_and_could_not_report(tmp_path):
    out = tmp_path / "media" / "out"

    async def scenario(master, worker, engine):
        master.fault = lambda call: "lost-request" if call.endswith("/complete") else None
        task = master.add(spec(output=str(out)))
        await engine.begun()
        engine.tell("finish")
        await master.until(lambda: master.count("/complete") > 0)
        assert (out / "video.mp4").exists()
        with master.changed:
            for node in master.nodes.values():
                node["lost"] = True
            task.state, task.node = "queued", None
        await master.until(lambda: task.attempt == 2)
        master.fault = lambda call: None
        await engine.begun()
        engine.tell("finish")
        await master.until(lambda: task.state == "completed")
        other = master.add(spec(output=str(out)))
        await master.until(lambda: other.state == "failed")
        assert other.failure[0] == "output_exists"

    farm(scenario, tmp_path)


def test_a_text_named_mp4_is_a_bad_input(tmp_path):
    async def scenario(master, worker, engine):
        path = tmp_path / "media" / "film.mp4"
        path.write_text("hello")
        task = master.add(spec(input=str(path), parameters={}))
        await master.until(lambda: task.state == "failed")
        assert task.failure == ("input", "The input is no video.")

    farm(scenario, tmp_path)


def test_a_nonsense_spec_fails_as_a_request(tmp_path):
    async def scenario(master, worker, engine):
        for broken in (
            {"profile": None},
            {"profile": {"name": "x", "packaging": "zip"}},
            {"input": 7},
            {"engine": "gstreamer"},
        ):
            task = master.add(spec(**broken))
            await master.until(lambda task=task: task.state == "failed")
            assert task.failure[0] in ("request", "capability"), broken
            assert "worker itself" not in task.failure[1]

    farm(scenario, tmp_path)


def test_an_upload_is_fetched_over_broken_connections(tmp_path):
    async def scenario(master, worker, engine):
        master.uploads["u1"] = b"video" * 1000
        master.upload_cut = [100, 0, 2000]
        task = master.add(spec(input="upload://u1", parameters={}))
        await engine.begun()
        engine.tell("finish")
        await master.until(lambda: task.state == "completed", "the end")
        assert master.count("/content") == 4
        assert master.asked == [None, "bytes=100-", "bytes=100-", "bytes=2100-"]
        missing = master.add(spec(input="upload://u2", parameters={}))
        await master.until(lambda: missing.state == "failed")
        assert missing.failure[0] == "input"

    farm(scenario, tmp_path)


def test_a_folder_left_by_a_crash_is_cleaned_at_the_start(tmp_path):
    left = tmp_path / "scratch" / "attempts" / "j1.1.1"
    left.mkdir(parents=True)
    (left / "half.mp4").write_text("half")

    async def scenario(master, worker, engine):
        assert not left.exists()

    farm(scenario, tmp_path)
    assert Path(tmp_path / "scratch").exists()


async def two_tasks(master, engine):
    """The first runs, the second waits."""
    first, second = master.add(spec()), master.add(spec())
    await engine.begun()
    return first, second


def test_a_report_claims_the_next_task(tmp_path):
    async def scenario(master, worker, engine):
        first, second = await two_tasks(master, engine)
        engine.tell("finish")
        await engine.begun()
        assert (first.state, second.attempt) == ("completed", 1)
        assert master.count("/claim") == 1
        assert worker.holding == 1
        engine.tell("fail")
        await master.until(lambda: second.state == "failed")
        await master.until(lambda: master.count("/claim") == 2)  # nothing was queued: the long poll goes on as before
        assert [one.claim is not None for one in master.ends] == [True, True]
        assert len({one.claim.request for one in master.ends}) == 2

    # A slow heartbeat: one that crosses the report cuts it off, as below.
    farm(scenario, tmp_path, heartbeat_s=60.0, ttl_s=300.0)


def test_a_newer_attempt_of_a_task_ends_the_older_one_that_no_heartbeat_has_told_of(tmp_path):
    async def scenario(master, worker, engine):
        task = master.add(spec())
        older = await engine.begun()
        master.change(task, state="queued", node=None)  # canceled and retried within a heartbeat
        await gone(older)
        await engine.begun()
        engine.tell("finish")
        await master.until(lambda: task.state == "completed")
        assert task.attempt == 2

    farm(scenario, tmp_path, slots=2, heartbeat_s=60.0, ttl_s=300.0)


def test_slots_are_never_claimed_twice(tmp_path):
    async def scenario(master, worker, engine):
        tasks = [master.add(spec(engine="none")) for _ in range(40)]  # each fails before anything is started
        await master.until(lambda: all(task.state == "failed" for task in tasks))
        assert master.most_held == 2
        assert sum(one.claim is not None for one in master.ends) == 40

    farm(scenario, tmp_path, slots=2, heartbeat_s=60.0, ttl_s=300.0)


@pytest.mark.parametrize("fault", ["lost-reply", "lost-request", "503"])
def test_a_report_with_a_claim_that_is_lost_is_given_the_same_task_again(tmp_path, fault):
    async def main():
        with FakeMaster(heartbeat_s=5.0) as master:
            faults = [fault, fault]
            master.fault = lambda call: faults.pop() if call.endswith("/complete") and faults else None
            engine = FakeEngine(tmp_path / "engine")
            async with running(master, tmp_path, [engine.source()]):
                first, second = await two_tasks(master, engine)
                third = master.add(spec())
                engine.tell("finish")
                await engine.begun()
                assert (first.state, first.attempt, second.attempt, third.state) == ("completed", 1, 1, "queued")
                assert len({one.claim.request for one in master.ends}) == 1

    asyncio.run(main())


def test_a_report_goes_alone_when_its_claim_is_refused(tmp_path):
    async def scenario(master, worker, engine):
        master.refuse_claims = True
        first, _ = await two_tasks(master, engine)
        engine.tell("finish")
        await master.until(lambda: first.state == "completed")
        assert [one.claim is None for one in master.ends] == [False, True]
        await engine.begun()  # by a claim of its own

    farm(scenario, tmp_path)


def test_a_stale_report_is_said_once(tmp_path):
    async def scenario(master, worker, engine):
        first, second = await two_tasks(master, engine)
        master.fault = lambda call: master.change(first, node="n-other") if call.endswith("/complete") else None
        engine.tell("finish")
        await engine.begun()
        assert (first.state, second.attempt, len(master.ends)) == ("processing", 1, 1)

    farm(scenario, tmp_path, heartbeat_s=60.0, ttl_s=300.0)


def test_what_a_report_that_was_cut_off_was_given_runs(tmp_path):
    async def scenario(master, worker, engine):
        first, second = await two_tasks(master, engine)
        # The master takes the report, its answer hangs, and the next heartbeat says that the task is no longer ours.
        master.fault = lambda call: "held-reply" if call.endswith("/complete") and len(master.ends) == 0 else None
        engine.tell("finish")
        await engine.begun()
        assert (first.state, second.state, second.attempt) == ("completed", "processing", 1)
        assert master.count("/claim") == 2  # asked for again, under the name that the report gave

    farm(scenario, tmp_path)


def test_what_a_report_was_given_goes_back_when_the_worker_ends(tmp_path):
    async def scenario(master, worker, engine):
        first, second = await two_tasks(master, engine)
        master.fault = lambda call: "held-reply" if call.endswith("/complete") and len(master.ends) == 0 else None
        engine.tell("finish")
        await master.until(lambda: second.state == "assigned")
        worker.hurry()
        await worker.wait_drained()
        assert (first.state, second.state) == ("completed", "handed_back")
        assert engine.encoded == 1

    farm(scenario, tmp_path, heartbeat_s=60.0, ttl_s=300.0)


@pytest.mark.parametrize("reason", ["draining", "told to drain", "no room", "no lease"])
def test_a_worker_that_takes_no_work_reports_without_a_claim(tmp_path, monkeypatch, reason):
    async def scenario(master, worker, engine):
        first, _ = await two_tasks(master, engine)
        if reason == "draining":
            worker.drain()
        elif reason == "told to drain":
            master.drain = True
            await master.until(worker._closed.is_set)
        elif reason == "no room":
            monkeypatch.setattr("millrace.worker.disk.free_bytes", lambda _: -1)  # below any threshold
        else:
            monkeypatch.setattr(worker._heart, "holds", lambda: False)
            assert worker._next_claim() is None
            return
        engine.tell("finish")
        await master.until(lambda: first.state == "completed")
        assert master.ends[0].claim is None

    farm(scenario, tmp_path)


def test_a_worker_that_comes_too_late_with_its_identity_stops_for_good(tmp_path):
    async def main():
        engine = FakeEngine(tmp_path / "engine")
        with FakeMaster(heartbeat_s=0.1) as master:
            async with running(master, tmp_path, [engine.source()]) as worker:
                node = next(iter(master.nodes.values()))
                master.superseded = True
                node["lost"] = True  # as it is for this one, when another has registered
                async with asyncio.timeout(60):
                    await worker.wait_drained()
                assert "another one has registered since" in worker.fault
            with pytest.raises(StateUnusableError, match="so the folder was copied") as caught:
                StateFolder(tmp_path / "state").open()
            # A person has looked, and the other one is gone.
            note = Path(str(caught.value).partition("remove ")[2].partition(",")[0])
            await asyncio.to_thread(note.unlink)
            master.superseded = False
            async with running(master, tmp_path, [engine.source()]) as worker:
                assert worker.fault == ""

    asyncio.run(main())
