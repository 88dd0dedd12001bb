"""`bitlm patches`: text and numbers under it, a picture, exact figures, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bitlm_mcp.operations.models import save
from tests.mcp.command_line import done, refused
from tests.mcp.workspaces import server


@pytest.fixture
def source(tmp_path: Path, text: bytes) -> Path:
    path = tmp_path / "text"
    path.write_bytes(text[:8000])
    return path


def test_a_text_is_cut_and_each_byte_has_its_entropy_below(source: Path, text: bytes) -> None:
    lines = done("patches", source, "--bytes", 300).splitlines()
    shown, bits, last = lines[:-1:2], lines[1:-1:2], lines[-1]
    assert all(len(above) <= 96 and len(below) <= len(above) for above, below in zip(shown, bits, strict=True))
    assert "".join(shown).replace("|", "").replace("\\n", "\n").replace("\\\\", "\\") == text[:300].decode()
    exact = json.loads(done("patches", source, "--bytes", 300, "--json"))
    known = [each for patch in exact["patches"] for each in patch["bits"]][:300]
    told = [int(digit) for below in bits for digit in below.replace(" ", "")]
    assert len(told) == 300 and all(abs(one - other) <= 0.51 for one, other in zip(known, told, strict=True))
    assert last.startswith("num_bytes 8,000, threshold ") and last.endswith("fitted to the file itself")


def test_what_cannot_be_shown_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(b"a|b\\\t\xff\r\n")
    lines = done("patches", tmp_path / "odd", "--scheme", "fixed", "--stride", 2).splitlines()
    assert lines[0] == r"|a\||b\\|\t\xff|\r\n"
    assert len(lines) == 3 and "threshold" not in lines[2] and "num_patches 4, mean 2.0" in lines[2]


def test_options_reach_the_rule_and_the_picture(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.svg"
    found = json.loads(done("patches", source, "--mean-patch-size", 6, "--monotonic", "--adaptive", "--svg", out, "--json"))
    assert found["mean"] == pytest.approx(6, rel=0.02) and found["num_bytes"] == 8000
    assert "entropy, monotonic, adaptive, threshold" in out.read_text()
    given = json.loads(done("patches", source, "--threshold", 9, "--max-patch-size", 10, "--bytes", 0, "--json"))
    assert (given["threshold"], given["mean"], given["patches"]) == (9, 10, [])
    lines = json.loads(done("patches", source, "--threshold", 2, "--reset-context", "--min-patch-size", 2, "--json"))
    assert lines["shortest"] >= 2 or lines["histogram"][0] == 1  # the last one alone may be shorter


def test_what_cannot_be_done_is_said_in_a_line(source: Path, tmp_path: Path) -> None:
    assert "monotonic=true means nothing with scheme='space'" in refused("patches", source, "--scheme", "space", "--monotonic")
    assert "mean_patch_size" in refused("patches", source, "--mean-patch-size", 0.5)
    assert "No such file" in refused("patches", tmp_path / "none")
    (tmp_path / "empty").touch()
    assert "0 bytes" in refused("patches", tmp_path / "empty")


def test_a_model_cuts_by_what_it_was_fitted_with(source: Path, tmp_path: Path) -> None:
    """And not by the file: a model or a checkpoint, with the figures of the core; other models are refused."""
    state = ["--state-dir", tmp_path / "state"]
    with server(tmp_path / "state") as made:
        made.data()
        made.create("p", architecture="patch", local_width=16, patching="entropy", mean_patch_size=3)
        assert "train it first" in refused("patches", source, "--model", "p", *state)
        made.trained("p", steps=1)
        made.create("b")
        made.completed(save(made.workspace, "kept", "p", overwrite=False, pinned=False))
    found, again = (json.loads(done("patches", source, "--model", name, "--json", *state)) for name in ("p", "kept"))
    fitted_to_the_file = json.loads(done("patches", source, "--mean-patch-size", 3, "--json"))
    assert found == again and found["num_bytes"] == 8000 and found["threshold"] != fitted_to_the_file["threshold"]
    assert done("patches", source, "--model", "p", *state).splitlines()[-1].endswith("; as p cuts")
    assert "architecture='byte' cuts no patches" in refused("patches", source, "--model", "b", *state)
    assert "stride=3: --model p has its own patching" in refused("patches", source, "--model", "p", "--stride", 3, *state)
    assert "no file, checkpoint or model 'none'" in refused("patches", source, "--model", "none", *state)
