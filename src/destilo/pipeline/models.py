"""The models of an experiment: before their training, or as they are in its folder.

A teacher that is used as it is lies where the recipe says; all others lie in the Run, each in a
folder of its name.
"""

from __future__ import annotations

from dataclasses import asdict

from transformers import PreTrainedModel

from destilo.models.folder import LoadedModel, load_model, move_to
from destilo.models.initialise import InitReport
from destilo.pipeline import making
from destilo.pipeline.experiment import Experiment
from destilo.recipe.schema import Recipe, TeacherSpec
from destilo.runs import write_json


def teacher_name(number: int) -> str:
    """The folder of the teacher with this number (from 0)."""
    return "teacher" if number == 0 else f"teacher-{number + 1}"


def lesson_names(recipe: Recipe) -> list[str]:
    """The folders in ``training`` of the student's stages in turn; the last has its own name."""
    return [*(f"student-stage-{n}" for n in range(1, len(recipe.lessons))), "student"]


def untrained_teacher(experiment: Experiment, spec: TeacherSpec) -> LoadedModel:
    """A teacher before its fine-tuning."""
    return making.untrained_teacher(
        spec,
        task=experiment.task,
        tokenizers=experiment.tokenizers,
        seed=experiment.recipe.training.seed,
    )


def untrained_student(experiment: Experiment, name: str) -> LoadedModel:
    """The student, or the ``baseline``, before its training."""
    recipe = experiment.recipe
    source: LoadedModel | None = None
    if recipe.teachers:
        first = recipe.teachers[0]
        wants_encoder = _layers_of(experiment, name) == "encoder"
        from_encoder = wants_encoder and (first.encoder or first.finetune) is not None
        source = (
            untrained_teacher(experiment, first) if from_encoder else load_teacher(experiment, 0)
        )

    def tell(report: InitReport) -> None:
        if name == "student":
            experiment.progress.note(report.summary(), level="info")
            if experiment.writes:
                write_json(experiment.path / "training" / name / "init.json", asdict(report))

    return making.untrained_student(
        recipe.student,
        task=experiment.task,
        teacher=source,
        tokenizers=experiment.tokenizers,
        seed=recipe.training.seed,
        told=tell,
    )


def models_before(experiment: Experiment) -> tuple[LoadedModel, list[LoadedModel]]:
    """Student and teachers before anything is trained: of the shapes that they will have."""
    recipe = experiment.recipe
    teachers = [
        load_teacher(experiment, number)
        if spec.finetune is None
        else untrained_teacher(experiment, spec)
        for number, spec in enumerate(recipe.teachers)
    ]
    student = making.untrained_student(
        recipe.student,
        task=experiment.task,
        teacher=teachers[0] if teachers else None,
        tokenizers=experiment.tokenizers,
        seed=recipe.training.seed,
    )
    return student, teachers


def _layers_of(experiment: Experiment, name: str) -> str:
    """Whose layers a model starts from: the baseline's owe the teacher nothing."""
    if name == "baseline" and experiment.recipe.evaluation.baseline_from == "encoder":
        return "encoder"
    return experiment.recipe.student.of


def load_teacher(experiment: Experiment, number: int) -> LoadedModel:
    """A teacher that is ready to be followed: fine-tuned in this run, or as it is."""
    spec = experiment.recipe.teachers[number]
    if spec.finetune is not None:
        return _load_trained(experiment, teacher_name(number))
    assert spec.model is not None  # the schema's rule
    tokenizer = spec.tokenizer if isinstance(spec.tokenizer, str) else None
    return load_model(
        spec.model,
        experiment.task.name,
        labels=experiment.task.labels,
        revision=spec.revision,
        tokenizer=tokenizer,
    )


def load_teachers(experiment: Experiment) -> list[LoadedModel]:
    """Every teacher, in the recipe's order."""
    return [load_teacher(experiment, number) for number in range(len(experiment.recipe.teachers))]


def load_all(experiment: Experiment) -> list[tuple[str, LoadedModel]]:
    """Every model that is measured, with its name, teachers first, where this process computes."""
    trained = [name for name in ("student", "baseline") if experiment.includes(name)]
    teachers = load_teachers(experiment) if experiment.recipe.evaluation.teacher else []
    models = [
        *((teacher_name(number), one) for number, one in enumerate(teachers)),
        *((name, _load_trained(experiment, name)) for name in trained),
    ]
    for _, loaded in models:
        move_to(loaded.model, experiment.processes.device)
    return models


def _load_trained(experiment: Experiment, name: str) -> LoadedModel:
    folder = experiment.path / name
    return load_model(str(folder), experiment.task.name, labels=experiment.task.labels)


def positions(model: PreTrainedModel) -> int:
    """How many pieces a model can read."""
    config = model.config
    available = int(getattr(config, "max_position_embeddings", 10**9))
    shifted = config.model_type in ("roberta", "xlm-roberta", "camembert")
    return available - config.pad_token_id - 1 if shifted else available
