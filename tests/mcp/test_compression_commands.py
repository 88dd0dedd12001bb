"""`bitlm compress` and `bitlm decompress`: files there and back, with and without a model, and one line for what fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitlm_core import Engine, EngineConfig, MixingConfig, TrainingPlan, bytes_in_memory, preset_config, write_file
from tests.mcp.command_line import done, refused

LINES = b"".join(b"%d, a line of the log, all is well\n" % i for i in range(30))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    source = tmp_path / "in"
    source.write_bytes(LINES)
    return source, tmp_path / "packed", tmp_path / "out"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = preset_config("tiny", d_model=32, nhead=1, num_layers=1, max_seq_len=32)
    engine = Engine(EngineConfig(model=shape, mixing=MixingConfig(memory_mib=8)))
    for _ in engine.train_steps(bytes_in_memory(LINES * 2), TrainingPlan(steps=2)):
        pass
    path = tmp_path_factory.mktemp("model") / "state.safetensors"
    write_file(path, *engine.state())
    return path


def test_there_and_back(files: tuple[Path, Path, Path]) -> None:
    source, packed, target = files
    for options in ([], ["--lanes", 2, "--memory-mib", 8]):
        told = done("compress", source, packed, "--force", *options)
        assert f"-> {packed.stat().st_size:,}, " in told and "(self-contained)" in told
        done("decompress", packed, target, "--force")
        assert target.read_bytes() == LINES
    assert sorted(path.name for path in source.parent.iterdir()) == ["in", "out", "packed"]


def test_an_empty_file(files: tuple[Path, Path, Path]) -> None:
    source, packed, target = files
    source.write_bytes(b"")
    assert "(stored)" in done("compress", source, packed)
    done("decompress", packed, target)
    assert target.read_bytes() == b""


@pytest.mark.parametrize("codec", ["rle", "zlib", "lzma", "zstd"])
def test_other_codecs(files: tuple[Path, Path, Path], codec: str) -> None:
    source, packed, target = files
    source.write_bytes(LINES + bytes(4000))
    found = done("compress", source, packed, "--codec", codec)
    size = len(packed.read_bytes())
    assert f"{len(LINES) + 4000:,} bytes -> {size:,}, " in found and f"ratio {size / (len(LINES) + 4000):.4f}, " in found
    assert f"CPU-s ({codec})" in found
    done("decompress", packed, target, "--codec", codec)
    assert target.read_bytes() == source.read_bytes()
    assert "more than the 99 bytes" in refused("decompress", packed, target, "--codec", codec, "--max-bytes", 99, "--force")
    assert "not made by" in refused("decompress", packed, target, "--force")
    packed.write_bytes(packed.read_bytes()[:-1])
    assert "damaged at byte" in refused("decompress", packed, target, "--codec", codec, "--force")
    assert target.read_bytes() == source.read_bytes()


def test_what_other_codecs_do_not_know_is_refused(files: tuple[Path, Path, Path]) -> None:
    source, packed, _ = files
    for options in (["--lanes", 2], ["--records", "lines"], ["--model", "m"], ["--memory-mib", 8]):
        assert f"--codec zlib knows no {options[0]}" in refused("compress", source, packed, "--codec", "zlib", *options)
    for options in (["--record", 0], ["--model", "m"], ["--memory-mib", 8]):
        assert f"--codec zlib knows no {options[0]}" in refused("decompress", source, packed, "--codec", "zlib", *options)
    assert not packed.exists()


def test_with_a_model(files: tuple[Path, Path, Path], checkpoint: Path) -> None:
    source, packed, target = files
    source.write_bytes(LINES[:200])
    assert "(model)" in done("compress", source, packed, "--model", checkpoint)
    done("decompress", packed, target, "--model", checkpoint)
    assert target.read_bytes() == LINES[:200]
    assert "give the checkpoint" in refused("decompress", packed, target, "--force")
    done("compress", source, packed, "--model", checkpoint, "--records", "lines", "--force")
    done("decompress", packed, target, "--model", checkpoint, "--record", 2, "--force")
    assert target.read_bytes() == LINES.splitlines(keepends=True)[2]


def test_names_of_the_state_directory(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    message = refused("compress", *files[:2], "--model", "nothing", "--state-dir", tmp_path / "state")
    assert "no file, checkpoint or model 'nothing'" in message and "has none" in message


def test_what_cannot_be_done_changes_nothing(files: tuple[Path, Path, Path], checkpoint: Path) -> None:
    source, packed, target = files
    packed.write_bytes(b"something else")
    assert "exists already" in refused("compress", source, packed)
    assert packed.read_bytes() == b"something else"
    assert "not made by" in refused("decompress", packed, target)
    assert "No such file" in refused("compress", source.with_name("absent"), target)
    assert "no folder" in refused("compress", source, source.parent / "absent" / "x")
    assert "--model" in refused("compress", source, target, "--records", "lines")
    assert "--memory-mib" in refused("compress", source, target, "--model", checkpoint, "--memory-mib", 8)
    assert "exclude" in refused("compress", source, target, "--model", checkpoint, "--records", "lines", "--lanes", 2)
    done("compress", source, packed, "--force")
    assert "needs no --model" in refused("decompress", packed, target, "--model", checkpoint)
    assert "record by record" in refused("decompress", packed, target, "--record", 0)
    assert "MiB" in refused("decompress", packed, target, "--memory-mib", 3)
    damaged = bytearray(packed.read_bytes())
    damaged[-9] ^= 1
    packed.write_bytes(damaged)
    assert "damaged" in refused("decompress", packed, target)
    assert not target.exists()
    assert sorted(path.name for path in source.parent.iterdir()) == ["in", "packed"]
