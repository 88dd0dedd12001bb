"""What is known of bytes that are to be filled in: whole bytes, single bits of a byte, and gaps of which nothing is known."""

from __future__ import annotations

from dataclasses import dataclass

from bitlm_core.errors import ConfigError

KNOWN, HIDDEN = 255, 0


@dataclass(frozen=True)
class Template:
    """`data`, and in `known` for each of its bytes which bits are known: 255 all, 0 none, else a mask with bit 7 the most
    significant. `prefix` and `suffix` are known bytes around it, read but no part of the result.

    Raises ConfigError where nothing is to be filled, and where there is not one mask per byte.
    """

    data: bytes
    known: bytes
    prefix: bytes = b""
    suffix: bytes = b""

    def __post_init__(self) -> None:
        if len(self.data) != len(self.known):
            raise ConfigError(
                f"a template of {len(self.data)} bytes has {len(self.known)} masks of known bits: give one per byte",
                num_bytes=len(self.data),
                num_masks=len(self.known),
            )
        if self.known.count(KNOWN) == len(self.known):
            raise ConfigError(
                f"all {len(self.data)} bytes of the template are known, so nothing is to be filled: leave a bit unknown"
            )

    @classmethod
    def between(cls, prefix: bytes, num_bytes: int, suffix: bytes = b"") -> Template:
        """One gap of `num_bytes`. Raises ConfigError for less than one byte."""
        if num_bytes < 1:
            raise ConfigError(f"num_bytes={num_bytes} leaves nothing to fill: ask for 1 or more", num_bytes=num_bytes)
        return cls(bytes(num_bytes), bytes(num_bytes), prefix, suffix)

    @classmethod
    def marked(cls, marked: bytes, mark: bytes = b"_", *, prefix: bytes = b"", suffix: bytes = b"") -> Template:
        """Bytes in which each `mark` stands for one unknown byte. Raises ConfigError where there is none."""
        if not mark:
            raise ConfigError("the mark of a gap is empty: give one that occurs nowhere else in the template, for instance '_'")
        parts = marked.split(mark)
        if len(parts) == 1:
            raise ConfigError(
                f"the template of {len(marked)} bytes holds no {mark.decode(errors='replace')!r}, the mark of an unknown byte: "
                "mark each byte to be filled, or name another mark"
            )
        data, known = (filler.join(parts_) for filler, parts_ in ((b"\0", parts), (b"\0", [b"\xff" * len(p) for p in parts])))
        return cls(data, known, prefix, suffix)

    @property
    def whole(self) -> tuple[bytes, bytes]:
        """Prefix, template and suffix in one, and their known bits."""
        known = bytes([KNOWN]) * len(self.prefix) + self.known + bytes([KNOWN]) * len(self.suffix)
        return self.prefix + self.data + self.suffix, known

    @property
    def num_open(self) -> int:
        """Bytes of which at least one bit is unknown."""
        return len(self.known) - self.known.count(KNOWN)
