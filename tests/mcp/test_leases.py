"""Who lives on a state directory, and who may write a model: takeover without clocks, and fences against the undead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dummy_process import ENV, until

from bitlm_mcp import presence
from bitlm_mcp.database import Database
from bitlm_mcp.leases import LeaseError, Leases
from bitlm_mcp.presence import Presence


class Server:
    """What one process has of all this."""

    def __init__(self, state: Path) -> None:
        self.database = Database(state / "bitlm.db")
        self.presence = Presence(self.database, state / "servers")
        self.leases = Leases(self.database, self.presence)

    def holders(self) -> dict[str, str]:
        """Server ids by the models that they write now."""
        return {lease.model_id: server.server_id for server in self.leases.servers() for lease in server.writes}

    def leave(self) -> None:
        self.presence.close()
        self.database.close()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def mine(state: Path) -> Iterator[Server]:
    server = Server(state)
    yield server
    server.leave()


@pytest.fixture
def other(state: Path) -> Iterator[Server]:
    server = Server(state)
    yield server
    server.leave()


CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_leases import Server
server = Server(Path(sys.argv[1]))
server.leases.acquire("m", "train_step")
with server.database.write() as transaction:
    transaction.execute(
        "INSERT INTO jobs (job_id, kind, model_id, server_id, status, created, request, progress)"
        " VALUES ('job-child', 'train_step', 'm', ?, 'running', 0, '{}', '{}')", (server.presence.server_id,))
print(server.presence.server_id, flush=True)
sys.stdin.readline()
server.leave()
"""


@pytest.fixture
def child(state: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process, which holds the lease of the model `m`."""
    command = [sys.executable, "-c", CHILD, str(state), str(Path(__file__).parent)]
    with subprocess.Popen(command, env=ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and len(process.stdout.readline()) == 17
        yield process
        process.kill()


def test_one_writes_and_the_other_learns_who(mine: Server, other: Server) -> None:
    lease = mine.leases.acquire("m", "train_step")
    with pytest.raises(LeaseError, match=f"process {os.getpid()} on .*train_step.*infer") as caught:
        other.leases.acquire("m", "train_step")
    assert caught.value.model_id == "m" and caught.value.holder.startswith("process ")
    other.leases.acquire("another", "train_step")
    mine.leases.release(lease)
    assert other.leases.acquire("m", "train_step").epoch == lease.epoch + 1
    assert mine.holders() == {"m": other.presence.server_id, "another": other.presence.server_id}


def test_jobs_of_one_process_share_a_lease(mine: Server, other: Server) -> None:
    first, second = mine.leases.acquire("m", "train_step"), mine.leases.acquire("m", "train_step")
    assert first == second
    mine.leases.release(first)
    with pytest.raises(LeaseError):
        other.leases.acquire("m", "train_step")
    mine.leases.release(second)
    other.leases.acquire("m", "train_step")


def test_who_leaves_leaves_nothing_locked(mine: Server, state: Path) -> None:
    guest = Server(state)
    guest.leases.acquire("m", "train_step")
    guest.leave()
    mine.leases.acquire("m", "train_step")
    assert list(mine.presence.servers()) == [mine.presence.server_id]
    assert [path.stem for path in (state / "servers").iterdir()] == [mine.presence.server_id]


def test_a_killed_holder_is_succeeded_at_once(mine: Server, child: subprocess.Popen[bytes]) -> None:
    with pytest.raises(LeaseError, match=f"process {child.pid} "):
        mine.leases.acquire("m", "train_step")
    child.kill()
    child.wait()
    assert mine.leases.acquire("m", "train_step").epoch == 2
    job = mine.database.rows("SELECT status, error FROM jobs")[0]
    assert job["status"] == "interrupted" and "resume_job" in job["error"]
    assert list(mine.presence.servers()) == [mine.presence.server_id]


def test_a_hung_holder_is_succeeded_and_its_later_writes_are_refused(
    mine: Server, other: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = other.leases.acquire("m", "train_step")
    now = time.monotonic()
    monkeypatch.setattr(presence.time, "monotonic", lambda: now)
    with pytest.raises(LeaseError):
        mine.leases.acquire("m", "train_step")
    now += presence.HUNG_AFTER_S / 2
    other.presence.beat()
    with pytest.raises(LeaseError):
        mine.leases.acquire("m", "train_step")
    now += presence.HUNG_AFTER_S - 1
    with pytest.raises(LeaseError):
        mine.leases.acquire("m", "train_step")
    now += 2
    successor = mine.leases.acquire("m", "train_step")
    other.presence.beat()  # it wakes up, and is registered again
    assert mine.presence.reap() == [] and len(mine.presence.servers()) == 2
    with pytest.raises(LeaseError, match="taken over"), other.leases.fenced(lease):
        raise AssertionError("the fence let it through")
    with mine.leases.fenced(successor) as transaction:
        transaction.execute("INSERT INTO datasets VALUES ('written', '{}')")
    other.leases.release(lease)  # must not free what it no longer has
    assert mine.holders() == {"m": mine.presence.server_id}


def test_a_clock_that_jumps_takes_no_lease_away(mine: Server, other: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    other.leases.acquire("m", "train_step")
    for jump in (-1e9, 1e9):
        monkeypatch.setattr(presence.time, "time", lambda jump=jump: 1.7e9 + jump)
        mine.presence.beat()
        assert mine.presence.reap() == []
        with pytest.raises(LeaseError):
            mine.leases.acquire("m", "train_step")


def test_a_stopped_process_keeps_its_lease_until_it_counts_as_hung(
    mine: Server, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.kill(child.pid, signal.SIGSTOP)
    try:
        with pytest.raises(LeaseError):
            mine.leases.acquire("m", "train_step")
        monkeypatch.setattr(presence, "HUNG_AFTER_S", 0.0)
        mine.leases.acquire("m", "train_step")
    finally:
        os.kill(child.pid, signal.SIGCONT)


def test_the_dead_are_buried_by_whoever_comes_next(state: Path, child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    late = Server(state)
    ended = late.presence.reap()
    assert [server.pid for server in ended] == [child.pid] and late.holders() == {}
    assert until(lambda: len(list((state / "servers").iterdir())) == 1, 5, "the lock file is removed")
    late.leave()
