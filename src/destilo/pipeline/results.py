"""What a run has measured, read from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from destilo.records import EvalResult, ProfileResult
from destilo.report.contents import read_records


@dataclass(frozen=True)
class RunResult:
    """What a run made.

    Attributes:
        path: The Run folder.
        evaluations: Every model on every split that was measured.
        profiles: Size and speed of every model.
    """

    path: Path
    evaluations: tuple[EvalResult, ...]
    profiles: tuple[ProfileResult, ...]

    @property
    def evaluation(self) -> EvalResult | None:
        """The student on the first test split (on validation where there is no test)."""
        mine = [result for result in self.evaluations if result.model == "student"]
        tests = [result for result in mine if result.split.startswith("test")]
        return next(iter(tests or mine), None)

    @property
    def profile(self) -> ProfileResult | None:
        """The student's size and speed."""
        return next((one for one in self.profiles if one.model == "student"), None)


def read_result(path: Path) -> RunResult:
    """Read what a run has measured so far.

    Raises:
        InputError: If one of its files is damaged.
    """
    return RunResult(
        path,
        read_records(path / "evaluation.json", EvalResult),
        read_records(path / "profile.json", ProfileResult),
    )
