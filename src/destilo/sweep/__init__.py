"""A collection of models: data sets, candidate teachers, students and a grid, in stages."""

from destilo.sweep.load import load_sweep
from destilo.sweep.run import SweepResult, run_sweep

__all__ = ["SweepResult", "load_sweep", "run_sweep"]
