"""`bitlm bench codecs`: what each codec makes of a file, and how fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import bitlm_core
from bitlm_mcp.bench_reports import Json, report_of, show_table, tell, values_of
from bitlm_mcp.demo import default_text


def codecs(
    data: Annotated[Path | None, typer.Option(help="File to code.", show_default="Python's language reference")] = None,
    names: Annotated[
        str, typer.Option("--codecs", help="With commas; model: context mixing, which learns the file alone.")
    ] = "rle,zlib,lzma,zstd,model",
    json_only: Json = False,
) -> None:
    """Code a file with each codec, decode it and compare: ratio, MB per CPU second in and out, on one thread.

    Beside them the run-length code on arrays of bits: random, 5 % set, and none.
    """
    content = data.read_bytes() if data else default_text()
    found = report_of(bitlm_core.codec_bench_steps(content, tuple(values_of(names, str))), "coding")
    if not json_only:
        told = [{"ratio": one.ratio, "MB/s in": one.in_mb_s, "MB/s out": one.out_mb_s} for one in found.codecs]
        show_table([({"codec": one.name}, figures) for one, figures in zip(found.codecs, told, strict=True)])
    tell(found.flat(), json_only=True)
