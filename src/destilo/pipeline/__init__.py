"""The verbs as functions: the only place where a recipe becomes objects."""

from destilo.pipeline.stages import STAGES, RunResult, read_result, run

__all__ = ["STAGES", "RunResult", "read_result", "run"]
