"""The verbs as functions: the only place where a recipe becomes objects."""

from destilo.pipeline.results import RunResult, read_result
from destilo.pipeline.stages import STAGES, run

__all__ = ["STAGES", "RunResult", "read_result", "run"]
