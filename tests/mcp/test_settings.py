"""Settings: bounds, real paths, and no open door by accident; the command line says so in sentences."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from bitlm_mcp import cli
from bitlm_mcp.settings import ServerSettings, is_loopback

TOKEN = "t" * 32


def test_defaults_are_local_and_frozen(tmp_path: Path) -> None:
    settings = ServerSettings(state_dir=tmp_path)
    assert (settings.host, settings.port, settings.max_wait_s, settings.token) == ("127.0.0.1", 8765, 45.0, None)
    with pytest.raises(ValidationError):
        settings.port = 1


@pytest.mark.parametrize("host", ["::", "192.0.2.1", "example.org", "127.0.0.1.example.org"])
def test_open_host_needs_a_token_or_consent(tmp_path: Path, host: str) -> None:
    with pytest.raises(ValidationError, match="no token is set: set BITLM_TOKEN"):
        ServerSettings(state_dir=tmp_path, host=host)
    assert ServerSettings.model_validate({"state_dir": tmp_path, "host": host, "token": TOKEN}).host == host
    assert ServerSettings(state_dir=tmp_path, host=host, insecure=True).token is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "LOCALHOST", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("token", ["short", "has spaces in its middle", "ümlaut-ümlaut-ümlaut"])
def test_weak_token_is_refused_without_showing_it(tmp_path: Path, token: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ServerSettings.model_validate({"state_dir": tmp_path, "token": token})
    assert "at least 16 printable" in str(caught.value)
    assert token not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", 65_536), ("port", -1), ("max_wait_s", 601), ("max_wait_s", float("nan")), ("threads", 0), ("prot", 1)],
)
def test_bounds(tmp_path: Path, name: str, value: float) -> None:
    with pytest.raises(ValidationError):
        ServerSettings.model_validate({"state_dir": tmp_path, name: value})


def test_allowed_directories_are_real_paths(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    assert ServerSettings(state_dir=tmp_path, allow_dirs=(tmp_path / "link",)).allow_dirs == (real.resolve(),)
    with pytest.raises(ValidationError, match="is not a directory"):
        ServerSettings(state_dir=tmp_path, allow_dirs=(tmp_path / "missing",))


def test_command_line_refuses_in_one_line(tmp_path: Path) -> None:
    options = ["serve", "--http", "--host", "192.0.2.1", "--state-dir", str(tmp_path)]
    result = CliRunner(env={"BITLM_TOKEN": None}).invoke(cli.app, options)
    assert result.exit_code == 2
    assert result.stderr.startswith("bitlm: host 192.0.2.1 can be reached from other machines")
    assert "pydantic" not in result.stderr
    result = CliRunner().invoke(cli.app, ["serve", "--threads", "0", "--state-dir", str(tmp_path)])
    assert (result.exit_code, "--threads: " in result.stderr) == (2, True)


def test_version() -> None:
    assert CliRunner().invoke(cli.app, ["--version"]).stdout.startswith("bitlm ")


def test_default_state_directory_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert cli.default_state_dir() == Path("/somewhere/bitlm")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert cli.default_state_dir() == Path.home() / ".local" / "state" / "bitlm"


def test_a_certificate_needs_its_key_and_both_their_files(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("")
    with pytest.raises(ValidationError, match="belong together"):
        ServerSettings(state_dir=tmp_path, tls_cert=tmp_path / "cert.pem")
    with pytest.raises(ValidationError, match=r"key\.pem is no file"):
        ServerSettings(state_dir=tmp_path, tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--toolsets", "data,nothing"], "'inference'"),
        (["--tools", "infer,guess"], "there is no tool guess"),
        (["--oauth-issuer", "https://login.example"], "belong together"),
        (["--oauth-issuer", "http://login.example", "--oauth-resource", "https://b.example"], "no https URL"),
        (["--calls-per-second", "0"], "--calls-per-second"),
        (["--keep-last", "0"], "--keep-last"),
        (["--autosave-s", "-1"], "--autosave-s"),
        (["--max-upload-mib", "0"], "--max-upload-mib"),
        (["--open-page"], "--open-page is for a server with a token"),
    ],
    ids=repr,
)
def test_settings_that_cannot_be_are_refused_in_a_sentence(tmp_path: Path, options: list[str], expected: str) -> None:
    found = CliRunner(env={"BITLM_TOKEN": None}).invoke(
        cli.app, ["serve", "--http", "--port", "0", "--state-dir", str(tmp_path), *options]
    )
    assert found.exit_code in (1, 2) and expected in found.stderr and "Traceback" not in found.stderr


def test_a_state_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = CliRunner().invoke(cli.app, ["serve", "--http", "--port", "0", "--state-dir", str(tmp_path / "file" / "state")])
    assert found.exit_code == 1 and "could not be opened" in found.stderr and "Traceback" not in found.stderr


@pytest.mark.parametrize("proxy", ["proxy.example", "10.0.0.0/33", "*", ""])
def test_only_addresses_and_networks_are_proxies(tmp_path: Path, proxy: str) -> None:
    with pytest.raises(ValidationError, match="no address or network: write 10"):
        ServerSettings(state_dir=tmp_path, trusted_proxies=("10.0.0.5", "fd00::/8", proxy))
