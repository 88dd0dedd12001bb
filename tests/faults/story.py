"""A client that works at random and remembers what it was told, to see whether a server that was killed still knows it.

What was acknowledged must be there. What was asked when the server died may have happened or not: both are allowed, and
nothing else.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.faults.victims import Refused, Victim

TINY = {"preset": "tiny", "d_model": 32, "nhead": 1, "num_layers": 1, "max_seq_len": 64}
FINAL = ("completed", "failed", "cancelled", "interrupted")
NAMES = ("a", "b", "c")
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog"]


@dataclass
class Known:
    """What a name may stand for; None: for nothing. More than one while a change was not acknowledged."""

    values: dict[str, set[Any]] = field(default_factory=dict)

    def of(self, name: str) -> set[Any]:
        """What it may be."""
        return self.values.get(name, {None})


ANY = object()
"""A value that only the answer would have told."""


class Story:
    """One client over the lives of many servers on one state directory."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.datasets, self.checkpoints, self.models = Known(), Known(), Known()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, tuple[dict[str, Any], str | None]] = {}
        self.outputs: dict[str, str] = {}
        self.running: str | None = None
        self.acknowledged = 0
        self._made: Counter[str] = Counter()
        self._changing: dict[str, int] = {}

    # Acting

    def act(self, server: Victim) -> None:
        """One call of any kind. Raises Gone when the server dies of it."""
        acts: list[tuple[int, Callable[[Victim], None]]] = [
            (4, self.add_dataset),
            (3, self.create),
            (4, self.save),
            (2, self.load),
            (2, self.delete),
            (3, self.train),
            (4, self.start_training),
            (3, self.look_at_training),
            (2, self.stop_training),
            (2, self.resume_training),
            (2, self.read_along),
            (2, self.train_under_a_key),
        ]
        weights, functions = zip(*acts, strict=True)
        try:
            self.rng.choices(functions, weights)[0](server)
        except Refused:
            pass
        else:
            self.acknowledged += 1

    def change(self, known: Known, name: str, new: set[Any], call: Callable[[], Any]) -> dict[str, Any]:
        """Make a call after which `name` stands for one of `new`; until it is answered, for what it was or for those.

        A call that is refused leaves what was.
        """
        before = known.of(name)
        known.values[name] = before | new
        try:
            answer: dict[str, Any] = call()
        except Refused:
            known.values[name] = before
            raise
        known.values[name] = new
        if known is self.models:
            self._made[name] += 1
        return answer

    def add_dataset(self, server: Victim) -> None:
        """Store a text, new or in the place of another."""
        name, text = self.rng.choice(NAMES), " ".join(self.rng.choices(WORDS, k=self.rng.randrange(30, 300)))
        new = {hashlib.sha256(text.encode()).hexdigest()}
        call = partial(server.call, "add_dataset", dataset_id=name, text=text, overwrite=True)
        self.change(self.datasets, name, new, call)

    def create(self, server: Victim) -> None:
        """Make a model, sometimes in the place of another."""
        name, overwrite, mixing = self.rng.choice(NAMES), self.rng.random() < 0.3, self.rng.random() < 0.1
        call = partial(server.call, "init_model", model_id=name, overwrite=overwrite, context_mixing=mixing, **TINY)
        self.change(self.models, name, {0}, call)

    def save(self, server: Victim) -> None:
        """Save a model under a name."""
        model, name, overwrite = self.rng.choice(NAMES), self.rng.choice(NAMES), self.rng.random() < 0.7
        call = partial(server.call, "save_checkpoint", name=name, model_id=model, overwrite=overwrite)
        answer = self.change(self.checkpoints, name, {ANY}, call)
        self.checkpoints.values[name] = {answer["sha256"]}

    def load(self, server: Victim) -> None:
        """Bring a saved model back."""
        model, name = self.rng.choice(NAMES), self.rng.choice(NAMES)
        call = partial(server.call, "load_checkpoint", name=name, model_id=model, overwrite=True)
        answer = self.change(self.models, model, {0}, call)
        self.models.values[model] = {answer["step"]}

    def delete(self, server: Victim) -> None:
        """Remove something."""
        kinds = {"dataset": self.datasets, "checkpoint": self.checkpoints, "model": self.models}
        kind, name = self.rng.choice(list(kinds)), self.rng.choice(NAMES)
        self.change(kinds[kind], name, {None}, partial(server.call, "delete", kind=kind, name=name))

    def train(self, server: Victim) -> None:
        """Train to the end of a few steps."""
        self._began(server.call("train_step", **self._training(), steps=self.rng.randrange(1, 6), wait_s=1))

    def start_training(self, server: Victim) -> None:
        """Begin a long training and leave it alone."""
        answer = server.call("train_step", **self._training(), seconds=300, wait_s=0)
        self.running = answer["job_id"]
        self._began(answer)

    def look_at_training(self, server: Victim) -> None:
        """Ask how far it is; what is said to be saved is saved."""
        if self.running is not None:
            self._trained(server.call("wait_job", job_id=self.running, wait_s=self.rng.random() * 0.3))

    def stop_training(self, server: Victim) -> None:
        """Cancel it, and see it end."""
        if self.running is not None:
            server.call("cancel_job", job_id=self.running)
            self._trained(server.call("wait_job", job_id=self.running, wait_s=20))

    def resume_training(self, server: Victim) -> None:
        """Let one that was interrupted or cancelled go on."""
        stopped = [job_id for job_id, job in self.jobs.items() if job["status"] in ("interrupted", "cancelled")]
        if stopped:
            job_id = self.rng.choice(stopped)
            before = self.jobs[job_id]
            self.jobs[job_id] = before | {"status": "running"}
            try:
                answer = server.call("train_step", resume_job=job_id, queue=True, wait_s=0)
            except Refused:
                self.jobs[job_id] = before
                raise
            self.running = job_id
            self._began(answer)

    def read_along(self, server: Victim) -> None:
        """Predict a dataset, whose output is kept with the job."""
        model, dataset = self.rng.choice(NAMES), self.rng.choice(NAMES)
        answer = server.call("infer_long", model_id=model, dataset_id=dataset, wait_s=30)
        self.jobs[answer["job_id"]] = {"status": answer["status"]}
        if answer["status"] == "completed":
            self.outputs[answer["job_id"]] = self._output(server, answer["job_id"])

    def train_under_a_key(self, server: Victim) -> None:
        """Train with an idempotency key. Should the server die of it, `verify` repeats the call."""
        arguments = self._training() | {"steps": 2, "wait_s": 1, "idempotency_key": f"key-{self.rng.getrandbits(64):x}"}
        self.keys[arguments["idempotency_key"]] = arguments, None
        try:
            answer = server.call("train_step", **arguments)
        except Refused:
            del self.keys[arguments["idempotency_key"]]
            raise
        self.keys[arguments["idempotency_key"]] = arguments, answer["job_id"]
        self._began(answer)

    def _training(self) -> dict[str, Any]:
        return {"model_id": self.rng.choice(NAMES), "dataset_id": self.rng.choice(NAMES), "batch_size": 2, "queue": True}

    def _began(self, job: dict[str, Any]) -> None:
        """Take note of a training that began, and of which of the models of its name it changes."""
        self._changing[job["job_id"]] = self._made[job["model_id"]]
        self._trained(job)

    def _trained(self, job: dict[str, Any]) -> None:
        """Take note of a training's answer: the step at which it, and so its model, is safe."""
        job_id, model = job["job_id"], job["model_id"]
        self.jobs[job_id] = job
        reached = job.get("saved_step")
        if reached is not None and self._changing.get(job_id) == self._made[model]:
            self.models.values[model] = {step if step is None else max(step, reached) for step in self.models.of(model)}

    def _output(self, server: Victim, job_id: str) -> str:
        return str(server.call("read_output", job_id=job_id, limit=4096)["data_base64"])

    # Judging

    def verify(self, server: Victim) -> None:
        """A server that has just started knows everything that was acknowledged, and all of it can be used."""
        status = json.loads(server.read("bitlm://status"))
        datasets = {row["dataset_id"]: row["sha256"] for row in status["datasets"]}
        checkpoints = {row["name"]: row["sha256"] for row in status["checkpoints"] if not row["damaged"]}
        assert len(checkpoints) == len(status["checkpoints"]), status["checkpoints"]
        steps = {row["model_id"]: row["step"] for row in status["models"]}
        self._agree("dataset", self.datasets, datasets)
        self._agree("checkpoint", self.checkpoints, checkpoints)
        self._agree("model", self.models, steps)
        self._verify_jobs(server)
        for model in NAMES:
            if model in steps:
                server.call("infer", model_id=model, prompt="the ", max_new_bytes=2, seed=1)
        for name in checkpoints:
            assert server.call("load_checkpoint", name=name, model_id="restored", overwrite=True)["model_id"] == "restored"

    def _agree(self, kind: str, known: Known, found: dict[str, Any]) -> None:
        """Each name stands for what was acknowledged; from now on, for what was found."""
        for name in NAMES:
            allowed, now = known.of(name), found.get(name)
            if now is None or isinstance(now, str):
                good = now in allowed or (now is not None and ANY in allowed)
            else:
                good = any(step is not None and now >= step for step in allowed)
            assert good, f"{kind} {name} is {now}; acknowledged: {allowed}"
            known.values[name] = {now}

    def _verify_jobs(self, server: Victim) -> None:
        self.running = None
        self._changing.clear()
        for job_id, told in self.jobs.items():
            found = server.call("wait_job", job_id=job_id, wait_s=0)
            assert found["status"] in FINAL, found
            if told["status"] in FINAL and (told["status"], found["status"]) != ("failed", "interrupted"):
                # Only that something failed may be forgotten, by a disk that refused to note it.
                assert found["status"] == told["status"], (told, found)
            assert (found.get("saved_step") or 0) >= (told.get("saved_step") or 0), (told, found)
            self.jobs[job_id] = found
        for job_id, output in self.outputs.items():
            assert self._output(server, job_id) == output
        for arguments, job_id in self.keys.values():
            if None in self.models.of(arguments["model_id"]) or None in self.datasets.of(arguments["dataset_id"]):
                continue
            try:
                again = server.call("train_step", **arguments)
            except Refused as refused:  # it was made on other data
                assert "was used for another call" in str(refused), refused
                continue
            assert job_id in (None, again["job_id"]), (job_id, again)
            if job_id is None:
                self._began(again)
        self.keys.clear()
