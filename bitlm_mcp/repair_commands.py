"""`bitlm repair`: a damaged file restored into a new one, without a server. Importing this brings no torch."""

from __future__ import annotations

import json
from typing import Annotated

import numpy as np
import typer

import bitlm_core
from bitlm_mcp import options
from bitlm_mcp.compression_commands import Force, In, Out, check_free
from bitlm_mcp.compute.messages import DamagedPlaces
from bitlm_mcp.compute.repair import proposals_of, ranges_of, repaired_steps, restored_bytes
from bitlm_mcp.shell import followed, known_engine, one_line, refuse

Checkpoint = Annotated[
    str | None,
    typer.Option(help="Checkpoint or model of the state directory, or its file.", show_default="none: the data alone"),
]
Ranges = Annotated[str | None, typer.Option(help="Damaged places: OFFSET:LENGTH, several with commas.")]
Parity = Annotated[bool, typer.Option("--parity", help="IN is packed groups of nine bits: those whose parity fails.")]
Surprising = Annotated[int | None, typer.Option(min=1, help="Unknown places: examine so many of the most surprising bytes.")]
Margin = Annotated[float, typer.Option(min=0, max=1000, help="Bits by which a change at an unknown place must be better.")]
Top = Annotated[int, typer.Option(min=0, max=100_000, help="How many proposals to tell.")]
JsonOnly = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]


def repair(
    context: typer.Context,
    source: In,
    target: Out,
    checkpoint: Checkpoint = None,
    ranges: Ranges = None,
    parity: Parity = False,
    surprising: Surprising = None,
    margin_bits: Margin = bitlm_core.MARGIN_BITS,
    top: Top = 10,
    force: Force = False,
    json_only: JsonOnly = False,
    state_dir: options.StateDir = None,
) -> None:
    """Restore damaged bytes of IN into OUT, each with a confidence: at given places, where parity fails, or odd ones."""
    with one_line():
        refuse(source.is_dir(), f"{source} is a folder: name one of its files, or add it as a dataset for the tool repair")
        same = target.exists() and source.exists() and target.samefile(source)
        refuse(same, f"{target} is what is to be repaired, which is never overwritten: choose another name")
        check_free(target, force)
        chosen = [name for name, given in (("--ranges", ranges), ("--parity", parity), ("--surprising", surprising)) if given]
        told = ", ".join(chosen) or "none"
        refuse(len(chosen) != 1, f"{told} was given, and exactly one of --ranges, --parity and --surprising is needed")
        places = ranges_of(ranges.split(",") if ranges else ())
        asked = DamagedPlaces(ranges=places, parity=parity, surprising=surprising, margin_bits=margin_bits)
        data = np.fromfile(source, np.uint8)
        engine = known_engine(checkpoint, state_dir or options.state_home(context.obj)) if checkpoint is not None else None
        found = followed(repaired_steps(engine, data, asked), "repairing")
        bitlm_core.write_whole(target, restored_bytes(found, asked), overwrite=force)
        figures = {"num_bytes": len(found.restored), "num_places": found.num_places, "num_proposals": len(found.offsets)}
        rows = proposals_of(found, top)
        if json_only:
            typer.echo(json.dumps({**figures, "proposals": rows}))
            return
        for row in rows:
            typer.echo(f"{row['offset']:>12,}  0x{row['was']:02x} -> 0x{row['proposed']:02x}  {row['confidence']:.3f}")
        typer.echo("{num_places:,} places examined, {num_proposals:,} bytes proposed, of {num_bytes:,}".format(**figures))
