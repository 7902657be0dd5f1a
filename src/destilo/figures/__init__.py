"""Pictures of a Run: how training went, and what quality costs in time."""

from destilo.figures.drawing import MODEL_COLOURS
from destilo.figures.quality_speed import QualityPoint, plot_quality_speed
from destilo.figures.score_speed import ScorePoint, plot_score_speed
from destilo.figures.training_curve import (
    Series,
    TrainingCurves,
    plot_training,
    read_training_log,
)

__all__ = [
    "MODEL_COLOURS",
    "QualityPoint",
    "ScorePoint",
    "Series",
    "TrainingCurves",
    "plot_quality_speed",
    "plot_score_speed",
    "plot_training",
    "read_training_log",
]
