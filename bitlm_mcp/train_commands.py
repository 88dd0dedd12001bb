"""`bitlm train`: a model learns a file, without a server; with --progressive its network grows on the way.

It is the training of the server's jobs, so what comes of it is a checkpoint that a server loads, or a file like one. It is
saved once a minute too; Ctrl-C ends it early, with what was learned until then. Importing this brings no torch.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import bitlm_core
from bitlm_mcp import options
from bitlm_mcp.compute import commands
from bitlm_mcp.compute.afterwards import small_steps
from bitlm_mcp.compute.answers import SmallMade
from bitlm_mcp.compute.engines import Entry
from bitlm_mcp.compute.events import Progress
from bitlm_mcp.compute.messages import DataPart, ModelRef, Saved
from bitlm_mcp.compute.threaded import prepare
from bitlm_mcp.compute.training import Training
from bitlm_mcp.shared_training import processes_of, tell_alerts, trained_together
from bitlm_mcp.shell import followed, known_engine, one_line, refuse
from bitlm_mcp.tools.plans import growing_of, plan_of, settings_of
from bitlm_mcp.train_targets import Target, small_beside, target_of

FRESH, GROWING = "A fresh model", "A network that grows"
SECONDS = 60.0
AUTOSAVE_S = 60.0

File = Annotated[Path, typer.Argument(metavar="FILE", help="File to learn.")]
SaveAs = Annotated[str | None, typer.Option(help="Checkpoint of the state directory to make.")]
Out = Annotated[Path | None, typer.Option(help="File to make instead.")]
Model = Annotated[str | None, typer.Option(help="Model, checkpoint or file of one to go on from.", show_default="a fresh one")]
Seconds = Annotated[float | None, typer.Option(min=0.1, max=86_400, help="Time to train for.", show_default=f"{SECONDS:g}")]
Steps = Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Optimizer steps.")]
BatchSize = Annotated[int | None, typer.Option(min=1, max=1024, help="Windows per step.", show_default="8")]
LearningRate = Annotated[float | None, typer.Option(min=1e-9, max=1, help="Peak of the schedule.", show_default="0.003")]
Holdout = Annotated[float, typer.Option(min=0, max=0.9, help="Share of FILE, its end, that is only looked at.")]
ValidateEvery = Annotated[int | None, typer.Option(min=1, max=1_000_000, help="Steps between looks at that.")]
Architecture = Annotated[
    Literal["byte", "bit", "patch", "mix"] | None,
    typer.Option(help="A position a byte, bit, patch; mix: no network.", show_default="byte", rich_help_panel=FRESH),
]
Preset = Annotated[
    Literal["tiny", "small", "base"] | None, typer.Option(help="Sizes.", show_default="small", rich_help_panel=FRESH)
]
ContextMixing = Annotated[
    bool | None,
    typer.Option(
        "--context-mixing/--no-context-mixing",
        help="Statistics of contexts beside the network.",
        show_default="on",
        rich_help_panel=FRESH,
    ),
]
Seed = Annotated[int | None, typer.Option(min=0, help="Of weights and batches.", show_default="0", rich_help_panel=FRESH)]
Progressive = Annotated[
    bool, typer.Option("--progressive", help="Grow at each plateau of the held-out loss.", rich_help_panel=GROWING)
]
ImproveThreshold = Annotated[
    float | None,
    typer.Option(min=1e-9, max=0.999, help="Mean gain that is none.", show_default="0.01", rich_help_panel=GROWING),
]
MaxParameters = Annotated[int | None, typer.Option(min=1, help="Where growing ends.", rich_help_panel=GROWING)]
AutoCollapse = Annotated[
    bool, typer.Option("--auto-collapse", help="At the end, distil a smaller model, NAME.small.", rich_help_panel=GROWING)
]
QuantizeAtEnd = Annotated[
    Literal["int8", "int4"] | None,
    typer.Option(help="At the end, quantise that, or else a copy, NAME.small.", rich_help_panel=GROWING),
]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
JsonOnly = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]


def train(
    context: typer.Context,
    file: File,
    save_as: SaveAs = None,
    out: Out = None,
    model: Model = None,
    seconds: Seconds = None,
    steps: Steps = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    holdout_fraction: Holdout = 0.1,
    validate_every: ValidateEvery = None,
    architecture: Architecture = None,
    preset: Preset = None,
    context_mixing: ContextMixing = None,
    seed: Seed = None,
    progressive: Progressive = False,
    improve_threshold: ImproveThreshold = None,
    max_parameters: MaxParameters = None,
    auto_collapse: AutoCollapse = False,
    quantize: QuantizeAtEnd = None,
    nproc: options.Nproc = 1,
    nodes: options.Nodes = 1,
    parallel: options.ParallelWay = None,
    rdzv_endpoint: options.RdzvEndpoint = None,
    device: options.DeviceName = "auto",
    force: Force = False,
    json_only: JsonOnly = False,
    state_dir: options.StateDir = None,
) -> None:
    """Train a model on a file, and save it once a minute and at the end, as a checkpoint or into a file."""
    asked = locals()
    with one_line():
        home = state_dir or options.state_home(context.obj)
        target, others = target_of(save_as, out, home, force), options.started_by_torchrun(context.obj)
        with target.held() if others in (None, 1) else nullcontext(target.run_folder) as folder:
            _learn(asked, Entry(_engine(model, home, asked), 0), target, folder, others)


def _learn(asked: Mapping[str, Any], entry: Entry, target: Target, folder: Path, others: int | None) -> None:
    """Train as a call asks for, save, and tell of it; folder, others: see `processes_of`."""
    plan, training = _plan(asked), settings_of({name: asked[name] for name in ("batch_size", "learning_rate")})
    bitlm_core.check_training(entry.engine.config.model, training, plan)
    shared = {name: asked[name] for name in ("nproc", "nodes", "parallel", "rdzv_endpoint", "device")}
    several, beside = processes_of(others, folder, **shared), small_beside(target, entry, plan)
    how = {"plan": plan, "training": training, "processes": several}
    command = _command(asked, target, beside, **how)
    if several is None:
        if (where := prepare(None, asked["device"])) != "cpu":  # where it was made
            entry.engine = bitlm_core.Engine.from_state(*entry.engine.state(), where)
        run = Training(entry, command, _require_room)
        target.take(_trained(run, target))
        _tell(entry, target, _small(run, entry, command, beside) if beside else None, asked["json_only"])
        return
    made = trained_together(entry, command, several, target, launch=others is None)
    if made is not None:
        _tell(made, target, None, asked["json_only"])


def _plan(asked: Mapping[str, Any]) -> bitlm_core.TrainingPlan:
    growing = growing_of(asked)
    run = {name: asked[name] for name in ("steps", "seconds", "validate_every")}
    if not run["steps"] and not run["seconds"]:
        run["seconds"] = SECONDS
    return plan_of(**run, patience=None, growing=growing)


def _command(asked: Mapping[str, Any], target: Target, beside: Target | None, **how: Any) -> commands.Train:
    learned, held = _parts(asked["file"], asked["holdout_fraction"])
    return commands.Train(
        model=ModelRef(model_id=target.name, incarnation=0, state=Path(asked["model"] or "")),
        job_id="",
        data=learned,
        held_out=held if how["plan"].validate_every else None,
        autosave_s=AUTOSAVE_S,
        save_to=target.folder,
        small_to=beside.folder if beside else None,
        **how,
    )


def _engine(model: str | None, state_dir: Path, asked: Mapping[str, Any]) -> bitlm_core.Engine:
    """The model to go on from, or a fresh one. Raises ConfigError where sizes are given for one that has its own."""
    names = ("architecture", "preset", "context_mixing", "seed")
    given = [f"--{name.replace('_', '-')}" for name in names if asked[name] is not None]
    if model is not None:
        refuse(bool(given), f"{', '.join(given)} is of a fresh model, and {model!r} is what it is: leave one of them out")
        return known_engine(model, state_dir)
    kind: Any = asked["architecture"] or "byte"
    sizes: Any = asked["preset"] or (None if kind == "mix" else "small")
    mixing = None if asked["context_mixing"] is False else bitlm_core.MixingConfig()
    config = bitlm_core.EngineConfig(model=bitlm_core.preset_config(sizes, kind), mixing=mixing, seed=asked["seed"] or 0)
    _require_room(config)
    return bitlm_core.Engine(config)


def _require_room(config: bitlm_core.EngineConfig) -> None:
    bitlm_core.require_memory(bitlm_core.estimate_engine_bytes(config), "the model")


def _parts(file: Path, holdout_fraction: float) -> tuple[DataPart, DataPart]:
    """What is learned, and what is only looked at."""
    size, digest = file.stat().st_size, bitlm_core.digest_of(file)
    cut = size - int(size * holdout_fraction)

    def part(start: int, end: int) -> DataPart:
        return DataPart(path=file.absolute(), start=start, end=end, digest=f"{digest}:{start}-{end}")

    return part(0, cut), part(cut, size)


def _trained(training: Training, target: Target) -> Saved:
    """Train to the end, or until Ctrl-C, and save."""
    try:
        followed(_shares(training, target), "training")
    except KeyboardInterrupt:
        typer.echo("bitlm: stopped; what was learned until now is saved", err=True)
    return training.save()


def _small(training: Training, entry: Entry, command: commands.Train, beside: Target) -> dict[str, Any] | None:
    """Make the small model of what has been trained and saved; None where one of both was stopped."""
    if entry.engine.plan is None or not entry.engine.plan.finished:
        return None
    steps = small_steps(training, entry, command, lambda size: bitlm_core.require_memory(size, "the smaller model"))
    try:
        made = followed(_each_share(steps), "a smaller model")
    except KeyboardInterrupt:
        typer.echo("bitlm: stopped; there is no smaller model", err=True)
        return None
    beside.take(made.saved)
    typer.echo(f"bitlm: {made.message}", err=True)
    return {"small_saved": str(beside.path or beside.name), **{f"small_{name}": value for name, value in made.report.items()}}


def _each_share(steps: Generator[Progress, None, SmallMade]) -> Generator[float, None, SmallMade]:
    """How far it is."""
    while True:
        try:
            told = next(steps)
        except StopIteration as stop:
            made: SmallMade = stop.value
            return made
        yield told.share


def _shares(training: Training, target: Target) -> Generator[float, None, None]:
    """How far it is; what it warns of is told as it comes, and what it saves is kept."""
    for progress in training.steps():
        tell_alerts(progress)
        target.keep(progress.saved)
        yield progress.share


def _tell(entry: Entry, target: Target, small: Mapping[str, Any] | None, json_only: bool) -> None:
    engine, points = entry.engine, entry.history.points
    last = points[-1] if points else None
    looks = [point.bits_per_byte_held_out for point in points if point.bits_per_byte_held_out is not None]
    growing = engine.plan.growing if engine.plan else None
    figures = {
        "saved": str(target.path or target.name),
        "step": engine.step,
        "num_parameters": engine.num_parameters,
        "bits_per_byte": last.bits_per_byte if last else None,
        "bits_per_byte_held_out": looks[-1] if looks else None,
        "growths": [event.message for event in growing.events] if growing else None,
        **(small or {}),
    }
    told = {name: value for name, value in figures.items() if value is not None}
    if json_only:
        typer.echo(json.dumps(told))
        return
    for name, value in told.items():
        for each in value if isinstance(value, list) else [value]:
            typer.echo(f"{name:22} {round(each, 4) if isinstance(each, float) else each}")
