"""A Dockerfile read as an engine reads it, as far as ours goes, and which files .dockerignore lets an engine see.

In: the texts. Out: stages of instructions with their words. Not covered: heredocs, escapes other than a backslash at the end of
a line, ONBUILD, SHELL, ADD: what is not known is refused.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

KNOWN = "FROM ARG ENV WORKDIR COPY RUN LABEL USER VOLUME EXPOSE STOPSIGNAL HEALTHCHECK ENTRYPOINT CMD"


@dataclass(frozen=True)
class Step:
    """One instruction: its name in capitals, and all that follows it on one line."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The words, of an exec form those of its JSON."""
        return list(json.loads(self.text)) if self.text.startswith("[") else shlex.split(self.text)

    @property
    def pairs(self) -> dict[str, str]:
        """What ENV, LABEL and ARG say."""
        return {name: value for name, _, value in (word.partition("=") for word in shlex.split(self.text))}

    @property
    def options(self) -> dict[str, str]:
        """The options before the words, such as --from of COPY."""
        return dict(re.findall(r"--([a-z-]+)=(\S+)", self.text.partition(" CMD ")[0]))


@dataclass
class Stage:
    """What comes after one FROM."""

    base: str
    name: str
    steps: list[Step] = field(default_factory=list)

    def last(self, name: str) -> Step:
        """The instruction that counts where a later one replaces those before."""
        return [step for step in self.steps if step.name == name][-1]

    def all(self, name: str) -> list[Step]:
        """Every instruction of that name."""
        return [step for step in self.steps if step.name == name]


def parse(text: str) -> list[Stage]:
    """The stages of a Dockerfile. Raises ValueError for an instruction that is not known, or stands before the first FROM."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    stages: list[Stage] = []
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        name, _, rest = line.strip().partition(" ")
        if name not in KNOWN.split(" ") or (not stages and name != "FROM"):
            raise ValueError(f"{name} is not expected here")
        if name == "FROM":
            base, _, alias = rest.partition(" AS ")
            stages.append(Stage(base, alias))
        else:
            stages[-1].steps.append(Step(name, " ".join(rest.split())))
    return stages


def health_command(step: Step) -> list[str]:
    """The exec form in a HEALTHCHECK."""
    return list(json.loads(step.text.partition("CMD ")[2]))


def visible(path: str, ignore: str) -> bool:
    """Whether .dockerignore lets an engine see a file: the last pattern that matches it, or a folder above it, decides."""
    parts = path.split("/")
    above = ["/".join(parts[: length + 1]) for length in range(len(parts))]
    seen = True
    for line in ignore.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        kept, pattern = pattern.startswith("!"), pattern.removeprefix("!")
        names = [name.rpartition("/")[2] for name in above] if pattern.startswith("**/") else above
        # An asterisk stops at a slash, so the number of parts must agree.
        wanted = pattern.removeprefix("**/")
        if any(fnmatchcase(name, wanted) and name.count("/") == wanted.count("/") for name in names):
            seen = kept
    return seen
