"""What every report of a benchmark can do: become the last line."""

from __future__ import annotations

from dataclasses import asdict, dataclass

Figure = float | int | str | bool | None


@dataclass(frozen=True)
class Report:
    """A flat record of figures, and of what they were measured on."""

    def flat(self) -> dict[str, Figure]:
        """For the last line, as JSON: by name, with four digits behind the point."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}
