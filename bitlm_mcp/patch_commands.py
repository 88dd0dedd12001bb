"""`bitlm patches`: a file cut into its patches, without a server. Importing this brings no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer
from numpy.typing import NDArray

import bitlm_core
from bitlm_mcp import options
from bitlm_mcp.compute.patches import check_alone, patches_outcome, patching_of
from bitlm_mcp.shell import known_engine, one_line

if TYPE_CHECKING:
    from bitlm_core import PatchInspection

Model = Annotated[
    str | None,
    typer.Option(
        help="Cut as this patch model does: a model or checkpoint of the state directory, or a checkpoint's file.",
        show_default="none: fitted to FILE itself",
    ),
]
File = Annotated[Path, typer.Argument(metavar="FILE", help="File to cut.")]
Scheme = Annotated[Literal["entropy", "space", "fixed"] | None, typer.Option(help="What ends a patch.", show_default="entropy")]
Mean = Annotated[float | None, typer.Option(help="Bytes per patch that the threshold is chosen for.", show_default="4")]
Threshold = Annotated[float | None, typer.Option(help="Bits; instead of --mean-patch-size.")]
Monotonic = Annotated[bool | None, typer.Option("--monotonic", help="Compare how much the entropy rises.")]
Adaptive = Annotated[bool | None, typer.Option("--adaptive", help="The threshold follows the data, to keep the mean.")]
Reset = Annotated[bool | None, typer.Option("--reset-context", help="Entropies look back to the beginning of the line only.")]
Stride = Annotated[int | None, typer.Option(help="Bytes per patch with --scheme fixed.")]
Shortest = Annotated[int | None, typer.Option(help="Bytes that a patch has at least.", show_default="1")]
Longest = Annotated[int | None, typer.Option(help="Bytes that a patch has at most.", show_default="24")]
Shown = Annotated[int, typer.Option("--bytes", min=0, max=1 << 20, help="So many are shown; all are counted.")]
Svg = Annotated[Path | None, typer.Option(help="Draw the first patches into this SVG file.")]
JsonOnly = Annotated[bool, typer.Option("--json", help="Print one line of JSON, with exact entropies.")]

COLUMNS = 96
_ESCAPES = {10: "\\n", 13: "\\r", 9: "\\t", 92: "\\\\", 124: "\\|"}


def patches(
    context: typer.Context,
    file: File,
    model: Model = None,
    scheme: Scheme = None,
    mean_patch_size: Mean = None,
    threshold: Threshold = None,
    monotonic: Monotonic = None,
    adaptive: Adaptive = None,
    reset_context: Reset = None,
    stride: Stride = None,
    min_patch_size: Shortest = None,
    max_patch_size: Longest = None,
    shown: Shown = 1024,
    svg: Svg = None,
    json_only: JsonOnly = False,
    state_dir: options.StateDir = None,
) -> None:
    """Show a file cut into its patches, by entropies that are fitted to the file itself or as a model does: | stands before
    each patch, and below each byte its entropy in whole bits, before it came. It is cut as one document; models read windows,
    whose first patches may end elsewhere."""
    given = {name: value for name, value in locals().items() if name in bitlm_core.PatchingConfig.model_fields}
    given["entropy_threshold"] = threshold
    with one_line():
        found = _cut(np.fromfile(file, np.uint8), given, model, state_dir or options.state_home(context.obj))
        if svg is not None:
            svg.write_text(bitlm_core.draw_patches(found, file.name), encoding="utf-8")
        outcome = patches_outcome(found, int(np.count_nonzero(found.starts[:shown])))
        if json_only:
            typer.echo(json.dumps(outcome.model_dump(mode="json", exclude={"answer"}, exclude_none=True)))
            return
        for line in _lines(found, shown):
            typer.echo(line)
        figures = outcome.model_dump(exclude={"answer", "patches", "histogram"}, exclude_none=True)
        how = f"as {model} cuts" if model else "fitted to the file itself"
        typer.echo(", ".join(f"{name} {round(value, 3):,}" for name, value in figures.items()) + "; " + how)


def _cut(data: NDArray[np.uint8], given: dict[str, Any], model: str | None, state_dir: Path) -> PatchInspection:
    if model is None:
        return bitlm_core.inspect_patches(data, patching_of(given))
    check_alone(given, f"--model {model}")
    return bitlm_core.inspect_model_patches(known_engine(model, state_dir).model, data)


def _lines(found: PatchInspection, shown: int) -> Iterator[str]:
    """Pairs of lines: the first bytes, and the entropy of each below it."""
    text, bits = "", ""
    for byte, start, entropy in zip(found.data[:shown].tolist(), found.starts, found.entropies, strict=False):
        part = ("|" if start else "") + _ESCAPES.get(byte, chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}")
        if len(text) + len(part) > COLUMNS:
            yield from (text, bits.rstrip())
            text, bits = "", ""
        text += part
        bits += (" " if start else "") + f"{round(float(entropy)):<{len(part) - bool(start)}d}"
    yield from (text, bits.rstrip()) if text else ()
