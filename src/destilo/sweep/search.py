"""A search over losses and settings in place of a grid, by Optuna.

The study is not kept: the same seed asks for the same trials, and those that are finished answer
from their files. So a killed search goes on by being asked again.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from destilo.errors import InputError
from destilo.sweep.schema import RangeSpec, SearchSpec, is_whole
from destilo.sweep.trial import Settings


class Search:
    """Asks for settings and is told what became of them.

    Args:
        spec: Space, sampler, seed and pruning.
        minimise: Whether lower is better.
    """

    def __init__(self, spec: SearchSpec, *, minimise: bool) -> None:
        try:
            import optuna
        except ImportError:
            raise InputError('`search` needs Optuna: pip install "destilo[sweep]"') from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna, self._spec, self._minimise = optuna, spec, minimise
        samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
        self._study = optuna.create_study(
            direction="minimize" if minimise else "maximize",
            sampler=samplers[spec.sampler](seed=spec.seed),
        )
        self._asked: dict[int, Any] = {}
        self._histories: list[Mapping[int, float]] = []

    def ask(self) -> tuple[int, Settings]:
        """A number to tell by, and the next settings to try."""
        trial = self._study.ask()
        settings = tuple(
            (axis, self._value(trial, axis, values)) for axis, values in self._spec.space.items()
        )
        self._asked[trial.number] = trial
        return trial.number, settings

    def _value(self, trial: Any, axis: str, values: RangeSpec | tuple[Any, ...]) -> Any:
        if isinstance(values, tuple):
            number = trial.suggest_categorical(
                axis, list(range(len(values)))
            )  # it wants plain values
            return values[number]
        if is_whole(axis):
            step = int(values.step or 1)
            low, high = int(values.low), int(values.high)
            return trial.suggest_int(axis, low, high, log=values.log, step=step)
        value = trial.suggest_float(axis, values.low, values.high, log=values.log, step=values.step)
        return float(f"{value:.4g}")  # as people write it, and the same on every machine

    def tell(
        self, number: int, *, value: float | None, history: Mapping[int, float], pruned: bool
    ) -> None:
        """Say what became of settings that were asked for; no value for a failure."""
        states = self._optuna.trial.TrialState
        trial = self._asked.pop(number)
        if value is None:
            self._study.tell(trial, state=states.FAIL)
        elif pruned:
            for validation, reached in history.items():
                trial.report(reached, validation)
            self._study.tell(trial, state=states.PRUNED)
        else:
            self._histories.append(dict(history))
            self._study.tell(trial, value)

    def bounds(self) -> dict[int, float]:
        """What the next trial must have reached at each validation: the median of those before it.

        As Optuna's MedianPruner has it; plain values, since a worker may be on another machine.
        """
        spec = self._spec
        if not spec.prune or len(self._histories) < spec.startup_trials:
            return {}
        return median_bounds(self._histories, after=spec.warmup_evaluations)


def median_bounds(histories: Sequence[Mapping[int, float]], *, after: int) -> dict[int, float]:
    """The median of what trials had reached at each validation.

    Args:
        histories: By trial, the best value so far at each validation.
        after: Validations without a bound.
    """
    numbers = sorted({number for history in histories for number in history if number > after})
    return {
        number: statistics.median(history[number] for history in histories if number in history)
        for number in numbers
    }
