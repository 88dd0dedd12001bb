"""`bitlm sample`: a saved model continues a prompt, or fills gaps by diffusion, without a server.

The bytes alone go to stdout, or with --out into a file; what is to be said about them goes to stderr. Importing this brings no
torch.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import bitlm_core
from bitlm_mcp import options
from bitlm_mcp.compression_commands import Force, check_free
from bitlm_mcp.shell import followed, known_engine, one_line, refuse
from bitlm_mcp.tools.inference_results import text_or_none
from bitlm_mcp.tools.templates import UNTRAINED, valid

CAUSAL, MASKED = "Continuing a prompt", "Filling gaps by diffusion"

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Model or checkpoint of the state directory, or a file of one.")]
Prompt = Annotated[str | None, typer.Option(help="Text to continue; '' for none.", rich_help_panel=CAUSAL)]
PromptFile = Annotated[Path | None, typer.Option(help="File to continue.", rich_help_panel=CAUSAL)]
NumBytes = Annotated[int | None, typer.Option(min=1, help="New bytes.", show_default="256", rich_help_panel=CAUSAL)]
TopP = Annotated[float | None, typer.Option(help="Nucleus sampling.", show_default="1", rich_help_panel=CAUSAL)]
Attempts = Annotated[
    int | None, typer.Option(help="Tries until the gate lets it pass.", show_default="1", rich_help_panel=CAUSAL)
]
Template = Annotated[str | None, typer.Option(help="Text with gaps, like: The ____ of", rich_help_panel=MASKED)]
TemplateFile = Annotated[Path | None, typer.Option(help="File with gaps.", rich_help_panel=MASKED)]
GapBytes = Annotated[int | None, typer.Option(min=1, help="One gap of so many bytes.", rich_help_panel=MASKED)]
Prefix = Annotated[str | None, typer.Option(help="Text before.", rich_help_panel=MASKED)]
Suffix = Annotated[str | None, typer.Option(help="Text after.", rich_help_panel=MASKED)]
Gap = Annotated[str | None, typer.Option(help="The mark of an unknown byte.", show_default="_", rich_help_panel=MASKED)]
Steps = Annotated[int | None, typer.Option(help="Passes, 1 to 64.", show_default="16", rich_help_panel=MASKED)]
Schedule = Annotated[
    Literal["linear", "cosine", "exp"] | None,
    typer.Option(help="How bytes appear.", show_default="linear", rich_help_panel=MASKED),
]
Method = Annotated[
    Literal["mask", "flip"] | None, typer.Option(help="flip: the old way, worse.", show_default="mask", rich_help_panel=MASKED)
]
Order = Annotated[
    Literal["spread", "annealed", "confidence", "random"] | None,
    typer.Option(help="What is revealed first.", show_default="spread; confidence at temperature 0", rich_help_panel=MASKED),
]
Remask = Annotated[float | None, typer.Option(help="Share hidden again per step.", show_default="0", rich_help_panel=MASKED)]
Temperature = Annotated[float | None, typer.Option(help="0: the likeliest.", show_default="1; of gaps 0.9")]
Constraint = Annotated[Literal["none", "utf8"], typer.Option(help="utf8: valid text.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")]
Safety = Annotated[Literal["off", "warn", "strict"], typer.Option(help="strict: nothing is written that the gate fails.")]
Out = Annotated[Path | None, typer.Option(help="File to write.", show_default="stdout")]
JsonOnly = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]

SOURCES = {"prompt": CAUSAL, "prompt_file": CAUSAL, "template": MASKED, "template_file": MASKED, "gap_bytes": MASKED}
BELONGS = {
    **SOURCES,
    **dict.fromkeys(("num_bytes", "top_p", "attempts"), CAUSAL),
    **dict.fromkeys(("prefix", "suffix", "gap", "steps", "schedule", "method", "order", "remask"), MASKED),
}


@dataclass(frozen=True)
class Sampled:
    """What came of it, the gate's verdict, and warnings."""

    made: Any
    verdict: bitlm_core.Verdict | None
    warnings: tuple[str, ...]


def sample(
    context: typer.Context,
    model: Model,
    prompt: Prompt = None,
    prompt_file: PromptFile = None,
    num_bytes: NumBytes = None,
    top_p: TopP = None,
    attempts: Attempts = None,
    template: Template = None,
    template_file: TemplateFile = None,
    gap_bytes: GapBytes = None,
    prefix: Prefix = None,
    suffix: Suffix = None,
    gap: Gap = None,
    steps: Steps = None,
    schedule: Schedule = None,
    method: Method = None,
    order: Order = None,
    remask: Remask = None,
    temperature: Temperature = None,
    constraint: Constraint = "none",
    seed: Seed = 0,
    safety: Safety = "warn",
    out: Out = None,
    force: Force = False,
    json_only: JsonOnly = False,
    state_dir: options.StateDir = None,
) -> None:
    """Continue a prompt, or fill the gaps of a template by diffusion, with a saved model."""
    given = {name: value for name, value in locals().items() if value is not None}
    with one_line():
        made, read = (_fill, _template) if _kind(given) == MASKED else (_continue, _prompt)
        if out is not None:
            check_free(out, force)
        asked: Any = read(given)
        engine = known_engine(model, state_dir or options.state_home(context.obj))
        found = followed(made(engine, asked, given), "sampling")
        _tell(found, engine, out, force, json_only)


def _kind(given: Mapping[str, Any]) -> str:
    """What is asked for. Raises ConfigError for none or several, and for options that have no meaning there."""
    named = [name for name in SOURCES if name in given]
    told = ", ".join(map(_option, named)) or "none"
    refuse(len(named) != 1, f"{told} was given, and exactly one of {', '.join(map(_option, SOURCES))} is needed")
    kind = SOURCES[named[0]]
    foreign = [name for name, other in BELONGS.items() if name in given and other != kind]
    refuse(bool(foreign), f"{', '.join(map(_option, foreign))} has no meaning beside {_option(named[0])}: leave it out")
    refuse("gap" in given and "gap_bytes" in given, "--gap marks the gaps of a template: leave it out, or give --template")
    return kind


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _settings(kind: Any, given: Mapping[str, Any]) -> Any:
    return valid(kind, {name: given[name] for name in kind.model_fields if name in given})


def _prompt(given: Mapping[str, Any]) -> tuple[bytes, Any]:
    data = given["prompt"].encode() if "prompt" in given else given["prompt_file"].read_bytes()
    return data, _settings(bitlm_core.SamplingConfig, given)


def _template(given: Mapping[str, Any]) -> tuple[bitlm_core.Template, Any]:
    around = {name: given.get(name, "").encode() for name in ("prefix", "suffix")}
    if "gap_bytes" in given:
        found = bitlm_core.Template.between(num_bytes=given["gap_bytes"], **around)
    else:
        marked = given["template"].encode() if "template" in given else given["template_file"].read_bytes()
        found = bitlm_core.Template.marked(marked, given.get("gap", "_").encode(), **around)
    return found, _settings(bitlm_core.DiffusionSampling, given)


def _continue(engine: bitlm_core.Engine, asked: tuple[bytes, Any], given: Mapping[str, Any]) -> Generator[float, None, Sampled]:
    prompt, sampling = asked
    count, attempts = given.get("num_bytes", 256), given.get("attempts", 1)
    if given["safety"] == "off":
        refuse(attempts > 1, f"--attempts {attempts} needs a gate that can fail an output: choose --safety warn or strict")
        generation, verdict = yield from engine.infer_steps(prompt, count, sampling)
        return Sampled(generation, verdict, ())
    found = yield from bitlm_core.safe_sample_steps(engine, prompt, count, sampling, safety=given["safety"], attempts=attempts)
    return Sampled(found.generation, found.verdict, found.verdict.reasons)


def _fill(
    engine: bitlm_core.Engine, asked: tuple[bitlm_core.Template, Any], given: Mapping[str, Any]
) -> Generator[float, None, Sampled]:
    steps = engine.diffusion_sample_steps(*asked, given["safety"])
    while True:
        try:
            yield next(steps).share
        except StopIteration as stop:
            filling, verdict = stop.value
            untrained = () if engine.diffusion_steps else (UNTRAINED,)
            return Sampled(filling, verdict, (*untrained, *(verdict.reasons if verdict else ())))


def _tell(found: Sampled, engine: bitlm_core.Engine, out: Path | None, force: bool, json_only: bool) -> None:
    data: bytes = found.made.data
    if out is not None:
        bitlm_core.write_whole(out, data, overwrite=force)
    for warning in found.warnings:
        typer.echo(f"bitlm: {warning}", err=True)
    if not json_only:
        if out is None:
            typer.echo(data, nl=False)
        return
    figures = {
        name: getattr(found.made, name)
        for name in ("bits_per_byte", "steps", "windows", "rehidden", "order")
        if hasattr(found.made, name)
    }
    verdict = found.verdict.model_dump(mode="json", exclude={"checks"}) if found.verdict else None
    text = {"text": text_or_none(data), "data_base64": base64.b64encode(data).decode()}
    typer.echo(json.dumps({**text, "num_bytes": len(data), **figures, "verdict": verdict, "model_step": engine.step}))
