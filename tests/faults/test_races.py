"""Servers that share one state directory and are driven at the same time: one wins, the others are told; nothing is mixed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bitlm_mcp.doctor import examine_state
from tests.faults.story import TINY
from tests.faults.victims import Refused, Victim, saved_after, victim

TEXT = "the quick brown fox jumps over the lazy dog " * 20


def together(servers: Sequence[Victim], tool: str, arguments: dict[str, Any]) -> list[dict[str, Any] | Refused]:
    """What several servers answer to the same call, made at the same time."""

    def outcome(server: Victim) -> dict[str, Any] | Refused:
        try:
            return server.call(tool, **arguments)
        except Refused as refused:
            return refused

    with ThreadPoolExecutor(len(servers)) as threads:
        return list(threads.map(outcome, servers))


def won(outcomes: list[dict[str, Any] | Refused]) -> int:
    return sum(isinstance(outcome, dict) for outcome in outcomes)


@pytest.fixture
def pair(tmp_path: Path) -> Any:
    with victim(tmp_path / "state") as one, victim(tmp_path / "state", log=tmp_path / "two.log") as two:
        yield one, two


def test_servers_may_start_at_once(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with ExitStack() as stack, ThreadPoolExecutor(4) as threads:
        servers = [Victim(state, tmp_path / f"{number}.log") for number in range(4)]
        for server in servers:
            stack.callback(server.close)
        list(threads.map(Victim.hello, servers))
        for number, server in enumerate(servers):
            server.call("add_dataset", dataset_id=f"d{number}", text=TEXT)
        servers[0].until("list_models", lambda found: len(found["datasets"]) == 4)
    assert [finding for finding in examine_state(state) if not finding.good] == []


def test_of_two_that_make_the_same_thing_one_wins(pair: tuple[Victim, Victim]) -> None:
    for number in range(8):
        name = f"n{number}"
        for tool, arguments in (
            ("add_dataset", {"dataset_id": name, "text": TEXT}),
            ("init_model", {"model_id": name, "context_mixing": False, **TINY}),
            ("save_checkpoint", {"name": name, "model_id": name}),
        ):
            outcomes = together(pair, tool, arguments)
            assert won(outcomes) == 1, outcomes


def test_a_model_is_trained_by_one_and_the_other_is_told_by_whom(pair: tuple[Victim, Victim]) -> None:
    one, two = pair
    one.call("init_model", model_id="m", context_mixing=False, **TINY)
    for _ in range(5):
        training = {"model_id": "m", "text": TEXT, "seconds": 60, "batch_size": 2, "wait_s": 0}
        outcomes = together(pair, "train_step", training)
        assert won(outcomes) == 1, outcomes
        loser = next(outcome for outcome in outcomes if isinstance(outcome, Refused))
        winner, job = next((s, o) for s, o in zip(pair, outcomes, strict=True) if isinstance(o, dict))
        assert f"process {winner.process.pid}" in str(loser)
        other = two if winner is one else one
        assert other.call("cancel_job", job_id=job["job_id"])["job_id"] == job["job_id"]
        winner.until("wait_job", lambda found: found["status"] == "cancelled", job_id=job["job_id"], wait_s=1)
        other.until("get_telemetry", lambda found: found["state"] == "idle", model_id="m")


def test_the_same_key_at_the_same_time_is_one_job(pair: tuple[Victim, Victim]) -> None:
    pair[0].call("init_model", model_id="m", context_mixing=False, **TINY)
    training = {"model_id": "m", "text": TEXT, "steps": 1, "batch_size": 2, "wait_s": 30}
    for number in range(5):
        call = training | {"idempotency_key": f"key-{number}", "queue": True}
        outcomes = together(pair, "train_step", call)
        told = {outcome["job_id"] for outcome in outcomes if isinstance(outcome, dict)}
        assert len(told) == 1, outcomes
        again = [server.call("train_step", **call)["job_id"] for server in pair]
        assert {*again} == told
    assert pair[1].call("get_telemetry", model_id="m")["step"] == 5


def test_the_other_takes_over_from_a_server_that_was_killed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with victim(state) as two:
        two.call("init_model", model_id="m", context_mixing=False, **TINY)
        job: dict[str, Any] = {}
        for _ in range(3):
            with victim(state, log=tmp_path / "one.log", autosave_s=0.05) as one:
                call = {"resume_job": job["job_id"]} if job else {"model_id": "m", "text": TEXT, "seconds": 60, "batch_size": 2}
                job = one.call("train_step", **call, wait_s=0)
                step = job.get("saved_step") or 0
                job = one.until("wait_job", saved_after(step), job_id=job["job_id"], wait_s=0.1)
                one.kill()
            goes_on = two.call("train_step", resume_job=job["job_id"], wait_s=0)
            assert two.call("cancel_job", job_id=goes_on["job_id"])["step"] >= job["saved_step"]


def test_two_that_change_everything_at_once_mix_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"

    def change(server: Victim, seed: int) -> int:
        rng, done = random.Random(seed), 0
        for _ in range(40):
            name = rng.choice("ab")
            calls: list[tuple[str, dict[str, Any]]] = [
                ("add_dataset", {"dataset_id": name, "text": TEXT + str(seed), "overwrite": True}),
                ("init_model", {"model_id": name, "overwrite": True, "context_mixing": False, **TINY}),
                ("save_checkpoint", {"name": name, "model_id": name, "overwrite": True}),
                ("load_checkpoint", {"name": name, "model_id": rng.choice("ab"), "overwrite": True}),
                ("train_step", {"model_id": name, "dataset_id": name, "steps": 2, "batch_size": 2, "wait_s": 5}),
                ("delete", {"kind": rng.choice(["model", "dataset", "checkpoint"]), "name": name}),
                ("infer", {"model_id": name, "prompt": "a", "max_new_bytes": 1}),
            ]
            tool, arguments = rng.choice(calls)
            try:
                server.call(tool, **arguments)
                done += 1
            except Refused:
                pass
        return done

    with victim(state) as one, victim(state, log=tmp_path / "two.log") as two, ThreadPoolExecutor(2) as threads:
        assert min(threads.map(change, (one, two), (1, 2))) > 10
        assert one.stop() == two.stop() == 0
    assert [finding for finding in examine_state(state) if not finding.good] == []
    with victim(state) as server:
        listed = server.call("list_models")
        for model in listed["models"]:
            server.call("infer", model_id=model["model_id"], prompt="a", max_new_bytes=1)
        for name in listed["checkpoints"]:
            server.call("load_checkpoint", name=name, model_id="loaded", overwrite=True)
