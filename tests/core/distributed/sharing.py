"""One of two processes: every case is trained by both, then by one alone; the first writes what came of it.

python sharing.py OUT.json CASE …        (in a world of torchrun's making; a case: of `CASES` or `RESUMED`, or "halt apart")
"""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from bitlm_core import (
    ByteData,
    Engine,
    EngineConfig,
    MixingConfig,
    TrainingConfig,
    TrainingPlan,
    bytes_in_memory,
    preset_config,
)
from bitlm_core.distributed.muon import ShardedMuon
from bitlm_core.distributed.parallel import Parallel, check_parallel
from bitlm_core.distributed.session import follow, leading
from bitlm_core.distributed.shards import Shards
from bitlm_core.distributed.world import World, joined
from bitlm_core.training.muon import Muon

STEPS = 20
TEXT = b"".join(b"%d squared is %d and its root %.3f;\n" % (i, i * i, i**0.5) for i in range(900))


@dataclass(frozen=True)
class Case:
    """What is trained how. `parts`: into how many parts one process cuts the batch, to be compared with."""

    parallel: Parallel
    architecture: str
    model: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    mixing: bool = False
    documents: bool = False
    parts: int = 1

    def engine(self, **training: Any) -> Engine:
        """A fresh one, small."""
        sizes = {"d_model": 32, "nhead": 1, "num_layers": 2, "max_seq_len": 144 if self.architecture == "bit" else 64}
        sizes |= {} if self.architecture == "bit" else {"ngram_rows": 512}
        settings = {"batch_size": 8, "use_autocast": False, "optimizer": "adamw"} | self.training | training
        return Engine(
            EngineConfig(
                model=preset_config("tiny", self.architecture, **sizes | self.model),  # type: ignore[arg-type]
                training=TrainingConfig(**settings),
                mixing=MixingConfig(memory_mib=8) if self.mixing else None,
            )
        )

    @property
    def data(self) -> ByteData:
        """What is learned: a text, or its lines as documents; a part of something larger."""
        data = replace(bytes_in_memory(TEXT), offset=5)
        if not self.documents:
            return data
        starts = torch.tensor([place + 1 for place, byte in enumerate(TEXT[:-1]) if byte == 10]).numpy()
        return replace(data, document_starts=starts)

    @property
    def steps(self) -> TrainingPlan:
        """How long."""
        return TrainingPlan(**{"steps": STEPS} | self.plan)


WAYS: tuple[Parallel, ...] = ("ddp", "fsdp", "pipeline")
SOON = {"plan": {"steps": 6}}
"""Enough for what differs at once where it differs at all."""
CASES: dict[str, Case] = {f"{way} {kind}": Case(way, kind) for way in WAYS for kind in ("byte", "bit", "patch")}
CASES |= {f"{way} muon": Case(way, "byte", training={"optimizer": "muon"}) for way in WAYS}
CASES |= {f"{way} reversible": Case(way, "patch", {"reversible": True}, documents=True, **SOON) for way in WAYS}
CASES |= {f"{way} halting": Case(way, "byte", {"use_act": True, "reversible": True}, **SOON) for way in WAYS[:2]}
CASES |= {
    "ddp parts": Case("ddp", "byte", training={"use_autocast": True, "optimizer": "muon"}, mixing=True, parts=2),
    "ddp dropout": Case("ddp", "bit", {"dropout": 0.2, "reversible": True}, parts=2, **SOON),
    "ddp diffusion": Case("ddp", "byte", {"diffusion": "shared"}, plan={"steps": 6, "objective": "mixed"}, parts=2),
    "fsdp diffusion": Case(
        "fsdp", "patch", {"diffusion": "own"}, {"accumulation": 2}, {"steps": 6, "objective": "mixed"}, parts=4
    ),
    "fsdp mixing": Case("fsdp", "byte", {"reversible": True}, plan={"validate_every": 10}, mixing=True),
    "pipeline mixing": Case("pipeline", "byte", {"num_layers": 3}, {"accumulation": 4}, mixing=True),
}
ALWAYS = (*list(CASES)[:9], "ddp parts", "fsdp mixing")
"""The cases of every test run; the others are for `make slow`."""
RESUMED = {"ddp": "ddp", "fsdp": "fsdp", "pipeline": "fsdp"}
"""Who has saved shards, and who goes on from them."""


def train_together(case: Case, world: World) -> dict[str, Any]:
    """What two processes and one give; nothing in all but the first."""
    engine, data, held = case.engine(), case.data, case.data.part(0, 500)
    check_parallel(engine.config, case.steps, case.parallel, world.size)
    if not world.leads:
        follow(engine, world, case.parallel, data)
        return {}
    with leading(engine, world, case.parallel, data):
        reports = list(engine.train_steps(data, case.steps, held))
    alone = case.engine(accumulation=case.parts)
    expected = list(alone.train_steps(data, case.steps, held))
    tensors, known = engine.state()[0], alone.state()[0]
    return {
        "losses": [report.loss for report in reports],
        "expected": [report.loss for report in expected],
        "mixed": [reports[-1].bits_per_byte_mixed, expected[-1].bits_per_byte_mixed],
        "held_out": [[report.held_out_loss for report in each] for each in (reports, expected)],
        "weights": max(
            float((tensors[name].double() - known[name].double()).abs().max()) for name in known if "mixer" not in name
        ),
        "other_names": sorted(tensors.keys() ^ known.keys()),
    }


def halt_apart(world: World) -> dict[str, Any]:
    """A step in which all positions of the leader's rows have halted after the first layer, and none of the others' rows."""
    case = Case("fsdp", "byte", {"use_act": True})
    engine = case.engine()
    if not world.leads:
        follow(engine, world, "fsdp", case.data)
        return {}
    with leading(engine, world, "fsdp", case.data):
        assert engine.trainer is not None
        engine.trainer.network.stack.blocks[0].halting.bias.data.fill_(20.0)  # type: ignore[union-attr]
        return {"mean_layers": next(engine.train_steps(case.data, case.steps)).mean_layers}


def save_refused(world: World, folder: Path) -> dict[str, Any]:
    """What the leader meets where another process cannot write its share of a checkpoint, and a step after that."""
    case, shards = Case("fsdp", "byte"), Shards(folder / "refused")
    engine = case.engine()
    if not world.leads:
        sys.dont_write_bytecode = True  # Python takes half a write of a module for a whole: nobody could import it again
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
        follow(engine, world, "fsdp", case.data)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        return {}
    with leading(engine, world, "fsdp", case.data):
        try:
            shards.save(engine)
        except OSError as error:
            report = next(engine.train_steps(case.data, case.steps))
            return {"said": error.strerror, "kept": str(shards.newest()), "step": report.step}
    return {}


def muon_of_shards(world: World) -> list[list[float]]:
    """[how far from where one process moves it, how far it moves] of matrices; of the last ones not everyone has a share."""
    mesh, found = init_device_mesh("cpu", (world.size,)), list[list[float]]()
    for shapes in ([(24, 8), (24, 8), (8, 24), (24, 8), (5, 7)], [(1, 4)]):
        generator = torch.Generator().manual_seed(3)
        start, *grads = ([torch.randn(shape, generator=generator) for shape in shapes] for _ in range(4))
        whole = [nn.Parameter(tensor.clone()) for tensor in start]
        spread = [nn.Parameter(distribute_tensor(tensor, mesh, [Shard(0)])) for tensor in start]
        one, other = (kind(given, lr=0.1) for kind, given in ((Muon, whole), (ShardedMuon, spread)))
        for each in grads:
            for grad, mine, theirs in zip(each, whole, spread, strict=True):
                mine.grad, theirs.grad = grad, distribute_tensor(grad, mesh, [Shard(0)])
            one.step()
            other.step()
        ends = [parameter.full_tensor() for parameter in spread if isinstance(parameter, DTensor)]
        found += [
            [float((end - mine).norm()), float((mine - begin).norm())]
            for end, mine, begin in zip(ends, whole, start, strict=True)
        ]
    return found


def go_on(way: Parallel, then: Parallel, world: World, folder: Path) -> dict[str, Any]:
    """Half of a training, and shards of it; the other half by processes that know nothing but these, or by the same ones."""
    case, plan, ends = Case(way, "patch", mixing=True), TrainingPlan(steps=12), []
    for lost in (True, False):
        engine, shards = case.engine(), Shards(folder / f"{way} {lost}")
        for one, until in ((way, 6), (then, 12)):
            if world.leads:
                with leading(engine, world, one, case.data):
                    for _ in zip(range(engine.step, until), engine.train_steps(case.data, engine.plan or plan), strict=False):
                        pass
                    shards.save(engine)
            else:
                follow(engine, world, one, case.data)
            dist.barrier()
            kept = shards.engine()
            assert kept is not None and kept.step == until
            engine = kept if lost or not world.leads else engine
        ends.append(engine.state()[0])
    differing = [name for name, value in ends[0].items() if not torch.equal(value, ends[1][name])]
    return {"differing": differing, "compared": len(ends[0])}


if __name__ == "__main__":
    out, chosen = Path(sys.argv[1]), sys.argv[2:]
    with joined("cpu") as world:
        torch.set_num_threads(1)
        told = {name: train_together(CASES[name], world) for name in chosen if name in CASES}
        told |= {"muon of shards": muon_of_shards(world)}
        told |= {"halt apart": halt_apart(world)} if "halt apart" in chosen else {}
        told |= {"refused": save_refused(world, out.parent)} if "fsdp" in chosen else {}
        told |= {way: go_on(way, then, world, out.parent) for way, then in RESUMED.items() if way in chosen}
        if world.leads:
            out.write_text(json.dumps(told))
