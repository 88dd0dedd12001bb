"""The command `bitlm` as a user calls it: what it prints, and how it refuses."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from bitlm_mcp import cli


def invoked(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def done(*arguments: object) -> str:
    """What it prints where it succeeds."""
    found = invoked(*arguments)
    assert found.exit_code == 0, found.output
    return found.stdout


def refused(*arguments: object) -> str:
    """The one line that it says where it does not."""
    found = invoked(*arguments)
    assert found.exit_code == 1 and found.stderr.startswith("bitlm: ") and found.stderr.count("\n") == 1, found.output
    return found.stderr
