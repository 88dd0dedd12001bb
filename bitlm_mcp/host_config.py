"""The exact text with which a host starts or reaches this server, and the guide with the texts for all of them.

In: a host, and how the server is started (`Launch`) or where one listens (`Address`). Out: a `Snippet`, or Markdown. No host is
asked whether it takes it, and no file is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from bitlm_core import ConfigError
from bitlm_mcp.host_entries import BLANK, ENTRIES, TOKEN, Address, Host, Language, Launch
from bitlm_mcp.settings import is_loopback


@dataclass(frozen=True)
class Snippet:
    """Where a text belongs, the text and its language, how to see that the host has the server, and how to take it away."""

    where: str
    text: str
    language: Language
    check: str
    undo: str


def address_of(url: str, token: bool) -> Address:
    """The address of a server's /mcp; beyond this machine it asks for a token whatever `token` says.

    Raises ConfigError for what is no http or https URL.
    """
    try:
        parts = urlsplit(url)
        name = "" if parts.port == 0 else parts.hostname or ""
    except ValueError:
        parts, name = urlsplit(""), ""
    if parts.scheme not in {"http", "https"} or not name:
        raise ConfigError(f"{url!r} is no address of a server: give one such as http://127.0.0.1:8765/mcp")
    path = "/mcp" if parts.path in {"", "/"} else parts.path
    return Address(urlunsplit((parts.scheme, parts.netloc, path, parts.query, "")), token or not is_loopback(name))


def snippet_for(host: Host, server: Launch | Address) -> Snippet:
    """What to put where, for one host. Raises ConfigError for an address where the host only takes what it starts itself."""
    entry = ENTRIES[host]
    if isinstance(server, Launch):
        text = entry.started(server)
    elif entry.reached is not None:
        text = entry.reached(server)
    else:
        able = ", ".join(name for name, other in ENTRIES.items() if other.reached)
        raise ConfigError(f"{host} only takes servers that it starts: leave out the address, or choose one of {able}")
    where = entry.where
    if BLANK in text:
        where += f"; the token itself, which {TOKEN} has, goes in the place of {BLANK}"
    if isinstance(server, Address) and server.in_the_open:
        where += "; over plain http whoever is on the way can read the token: serve https, or use a tunnel"
    return Snippet(where, text, entry.language, entry.check, entry.undo)


def guide(server: Launch | Address) -> str:
    """The texts for every host that can use this server, as Markdown."""
    if isinstance(server, Launch):
        how = "starts the server itself, over stdio"
        kept = " The state directory stays when a host lets go of the server: delete it to forget everything."
    else:
        how, kept = f"reaches the server at {server.url}", ""
    parts = [f"# Connect a host\n\nEach of these {how}. Entries go beside those that are there already.{kept}"]
    for host, entry in ENTRIES.items():
        if isinstance(server, Launch) or entry.reached:
            snippet = snippet_for(host, server)
            parts.append(
                f"## {entry.title}\n\nWhere: {snippet.where}\n\n```{snippet.language}\n{snippet.text}\n```\n\n"
                f"To see that it works: {snippet.check}\n\nTo undo it: {snippet.undo}"
            )
    return "\n\n".join(parts)
