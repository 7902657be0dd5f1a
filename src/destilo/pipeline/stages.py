"""The stages of a run, in order, each skipped when it is finished under the same key."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from transformers import PreTrainedModel

from destilo import __version__
from destilo.errors import InputError, ModelError
from destilo.evaluation import Evaluated, evaluate_model, measure_fidelity, predict_heads
from destilo.figures import plot_training
from destilo.models.folder import (
    LoadedModel,
    load_model,
    move_to,
    read_settings,
    save_model,
)
from destilo.objective.base import Objective
from destilo.objective.logits import make_term
from destilo.pipeline.inputs import Inputs, read_inputs, texts
from destilo.pipeline.keys import StageKeys, finetune_settings
from destilo.pipeline.making import untrained_student, untrained_teacher
from destilo.pipeline.preflight import preflight
from destilo.pipeline.tokenizers import TokenizerStore
from destilo.profiling import profile_models
from destilo.progress import Progress, Silent
from destilo.recipe.check import require_valid
from destilo.recipe.load import dump_recipe
from destilo.recipe.schema import Recipe, TeacherSpec, TrainingSpec
from destilo.records import EvalResult, Fidelity, ProfileResult
from destilo.report import build_report
from destilo.runs import Run, digest, reported_io, stopwatch, write_json, write_text
from destilo.tasks import Task
from destilo.tasks.base import Example, HeadArrays
from destilo.tasks.question_answering import QuestionAnswering
from destilo.teacher.alignment import AlignmentMode
from destilo.teacher.source import LiveTeacher
from destilo.training.checkpoint import clear_checkpoints
from destilo.training.loop import TrainingJob, TrainingResult, Validate, planned_steps, train
from destilo.training.processes import join_processes

STAGES = ("data", "teacher", "student", "baseline", "evaluate", "profile", "report")
_TOKENIZERS = "training/tokenizers"
_TRAINED = ("teacher", "student", "baseline")


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


def run(
    recipe: Recipe,
    *,
    output: str | Path,
    force: bool = False,
    until: str = "report",
    progress: Progress | None = None,
) -> RunResult:
    """Do every stage of a recipe that is not done yet.

    Args:
        recipe: The experiment.
        output: The Run folder; made if needed. A killed run goes on where it was.
        force: Do finished stages again.
        until: The last stage to do, one of ``STAGES``.
        progress: Who is told how it goes.

    Returns:
        Records of what was measured, and where everything is.

    Raises:
        InputError: If the recipe, the data, a model or the folder cannot be used.
        TrainingError: If training breaks down.
    """
    require_valid(recipe)
    with reported_io(Path(output)):
        return _Pipeline(recipe, Path(output), progress or Silent()).run(force=force, until=until)


class _Pipeline:
    """One recipe on its way through the stages."""

    def __init__(self, recipe: Recipe, output: Path, progress: Progress) -> None:
        self.recipe, self.progress = recipe, progress
        self.processes = join_processes()
        self.folder = Run(output, writable=self.processes.is_main_process)
        self.path = output
        self._inputs: Inputs | None = None
        self._keys: StageKeys | None = None

    # -- the order of things -------------------------------------------------------------

    def run(self, *, force: bool, until: str) -> RunResult:
        with self.folder.locked():
            if force:
                self._start_over()
            self.processes.wait_for_everyone()
            self._inputs = read_inputs(self.recipe, self.progress)
            self._keys = StageKeys(self.recipe, self.inputs)
            self._write_recipe()
            for stage in STAGES[: STAGES.index(until) + 1]:
                self._stage(stage)
        return self._result()

    def _start_over(self) -> None:
        """Forget what is finished, the checkpoints of what is not, and trained tokenizers."""
        self.folder.reopen()
        if self.processes.is_main_process:
            for folder in (self.path / "training").glob("*/checkpoints"):
                clear_checkpoints(folder)
            shutil.rmtree(self.path / _TOKENIZERS, ignore_errors=True)

    def _write_recipe(self) -> None:
        """Keep the recipe that the folder's results are, or are about to be, made from."""
        if self.processes.is_main_process:
            write_text(self.path / "recipe.yaml", dump_recipe(self.recipe))
            self.folder.describe(
                {"destilo": __version__, "recipe": self.recipe.digest, "task": self.task.name}
            )

    def _stage(self, name: str) -> None:
        actions: dict[str, Callable[[], list[str] | None]] = {
            "data": self._data,
            "teacher": self._teachers,
            "student": lambda: self._student("student"),
            "baseline": lambda: self._student("baseline"),
            "evaluate": self._evaluate,
            "profile": self._profile,
            "report": self._report,
        }
        if not self._applies(name):
            return
        key = self._key(name)
        finished, known = self.folder.finished(name, key), self.folder.known(name)
        self.processes.wait_for_everyone()
        if finished and name != "report":
            self.progress.note(f"{name}: already done, skipped (--force redoes it)", level="skip")
            return
        why = " again (its inputs have changed)" if known and name != "report" else ""
        self.progress.note(f"{name}{why}", level="stage")
        if name not in _TRAINED:  # those are forgotten later, when the new model is there
            self.folder.forget(name)
        with stopwatch() as seconds:
            outputs = actions[name]() or []
            self.processes.wait_for_everyone()
        self.folder.finish(name, key, outputs=outputs, seconds=seconds[0])
        if name in _TRAINED and self.processes.is_main_process:
            for output in outputs:
                clear_checkpoints(self.path / "training" / output / "checkpoints")
        self.processes.wait_for_everyone()
        gc.collect()

    def _applies(self, name: str) -> bool:
        if name == "teacher":
            return any(spec.finetune is not None for spec in self.recipe.teachers)
        if name == "baseline":
            return self.recipe.evaluation.baseline and self.recipe.distils
        return True

    def _key(self, name: str) -> str:
        assert self._keys is not None
        return self._keys.of(name)

    @property
    def inputs(self) -> Inputs:
        assert self._inputs is not None
        return self._inputs

    @property
    def task(self) -> Task:
        return self.inputs.task

    # -- stages --------------------------------------------------------------------------

    def _data(self) -> list[str]:
        if self.processes.is_main_process:
            write_json(self.path / "data.json", self.inputs.describe())
        return ["data.json"]

    def _teachers(self) -> list[str]:
        outputs = []
        for number, spec in enumerate(self.recipe.teachers):
            settings = finetune_settings(spec, self.recipe.training)
            if settings is None:
                continue
            name = teacher_name(number)
            made = self._untrained_teacher(spec)
            self._check_length(made, name)
            examples = self.task.encode(self.inputs.splits["train"].rows, [made.text])
            self._train(
                name,
                made,
                examples=examples,
                objective=Objective([make_term("labels")]),
                settings=settings,
                stage="teacher",
            )
            outputs.append(name)
        return outputs

    def _student(self, name: str) -> list[str]:
        distilled = name == "student" and self.recipe.distils
        student = self._untrained_student(self._layers_of(name))
        self._check_length(student, name)
        teachers = [self._teacher(number) for number in range(len(self.recipe.teachers))]
        tokenizers, places = _distinct([student, *teachers])
        rows = list(self.inputs.splits["train"].rows)
        n_labelled = len(rows)
        if "unlabelled" in self.inputs.splits:
            rows += self.inputs.splits["unlabelled"].rows
        examples = self.task.encode(rows, [item.text for item in tokenizers])
        settings = self.recipe.training
        steps = planned_steps(len(examples), settings, processes=self.processes.num_processes)
        live: list[LiveTeacher] = []
        if distilled:
            objective = self._objective()
            live = [
                self._live(teacher, place)
                for teacher, place in zip(teachers, places[1:], strict=True)
            ]
            if self.processes.is_main_process:
                self._preflight(student, teachers, live, objective, examples)
        else:
            objective = Objective([make_term("labels")])
            # The same number of steps and evaluations as the student, on the labelled rows alone.
            every = settings.eval_steps or self._steps_per_epoch(len(examples))
            examples = [example for example in examples if example.row < n_labelled]
            settings = settings.model_copy(update={"max_steps": steps, "eval_steps": every})
        self._train(
            name,
            student,
            examples=examples,
            objective=objective,
            settings=settings,
            stage=name,
            teachers=live,
        )
        return [name]

    def _evaluate(self) -> list[str]:
        if not self.processes.is_main_process:
            return []
        results: list[EvalResult] = []
        outputs = ["evaluation.json"]
        models = [
            (name, loaded, self._decoding_task(name, loaded)) for name, loaded in self._models()
        ]
        for split in self._evaluated_splits():
            reference: tuple[LoadedModel, Evaluated] | None = None
            for name, loaded, task in models:
                evaluated = self._evaluate_one(name, loaded, task, split)
                result = evaluated.result
                if name == "teacher":
                    reference = (loaded, evaluated)
                elif reference and not name.startswith("teacher"):
                    fidelity = self._fidelity(loaded, evaluated, *reference, split)
                    result = result.model_copy(update={"fidelity": fidelity})
                results.append(result)
                path = f"predictions/{name}-{split}.jsonl"
                lines = (json.dumps(one, ensure_ascii=False) for one in evaluated.predictions)
                write_text(self.path / path, "".join(f"{line}\n" for line in lines))
                outputs.append(path)
                self.progress.note(_sentence(result), level="step")
        write_json(
            self.path / "evaluation.json",
            {"results": [result.model_dump(mode="json") for result in results]},
        )
        return outputs

    def _evaluate_one(self, name: str, loaded: LoadedModel, task: Task, split: str) -> Evaluated:
        rows = self.inputs.splits[split].rows
        self.progress.begin(f"{name} on {split}", len(rows))
        try:
            return evaluate_model(
                loaded.model,
                name=name,
                split=split,
                task=task,
                rows=rows,
                tokenizer=loaded.text,
                batch_size=self.recipe.training.per_device_eval_batch_size,
                bootstrap_samples=self.recipe.evaluation.bootstrap_samples,
                progress=self.progress,
            )
        finally:
            self.progress.end()

    def _profile(self) -> list[str]:
        if not self.processes.is_main_process:
            return []
        spec = self.recipe.profile
        models: dict[str, PreTrainedModel] = {name: loaded.model for name, loaded in self._models()}
        limit = min(_positions(model) for model in models.values())
        length = min(spec.sequence_length, limit)
        if length < spec.sequence_length:
            self.progress.note(
                f"profile.sequence_length {spec.sequence_length} is more than the models' "
                f"{limit} positions; measured at {length}",
                level="warning",
            )
        results = profile_models(
            models,
            batch_size=spec.batch_size,
            sequence_length=length,
            threads=spec.threads,
            samples=spec.samples,
            warmup=spec.warmup,
            device=spec.device,
        )
        write_json(
            self.path / "profile.json",
            {"results": [result.model_dump(mode="json") for result in results]},
        )
        return ["profile.json"]

    def _report(self) -> list[str]:
        if self.processes.is_main_process:
            build_report(self.path)
        return ["report.md"]

    # -- training one model --------------------------------------------------------------

    def _train(
        self,
        name: str,
        made: LoadedModel,
        *,
        examples: Sequence[Example],
        objective: Objective,
        settings: TrainingSpec,
        stage: str,
        teachers: Sequence[LiveTeacher] = (),
    ) -> TrainingResult:
        folder = self.path / "training" / name
        job = TrainingJob(
            name=name,
            model=made.model,
            examples=examples,
            kinds=self.task.heads,
            pad_id=made.text.pad_id,
            objective=objective,
            settings=settings,
            folder=folder,
            identity=digest([self._key(stage), name, self.processes.num_processes]),
            teachers=teachers,
            validate=self._validator(made),
            select_by=self.recipe.evaluation.select_by or self.task.main_metric,
        )
        result = train(job, self.progress)
        if self.processes.is_main_process:
            task = self._tuned(made)
            self.folder.forget(stage)
            save_model(
                self.path / name,
                model=made.model,
                tokenizer=made.tokenizer,
                settings=task.settings(),
            )
            self._compare_reloaded(self.path / name, made)
            plot_training(folder / "log.jsonl", folder / "curve.png")
        self.processes.wait_for_everyone()
        return result

    def _validator(self, made: LoadedModel) -> Validate:
        rows = self.inputs.splits["validation"].rows
        examples = self.task.encode(rows, [made.text])

        def validate(model: PreTrainedModel) -> Mapping[str, float]:
            evaluated = evaluate_model(
                model,
                name="",
                split="validation",
                task=self.task,
                rows=rows,
                tokenizer=made.text,
                batch_size=self.recipe.training.per_device_eval_batch_size,
                bootstrap_samples=0,
                examples=examples,
            )
            scores = {key: score.value for key, score in evaluated.result.scores.items()}
            return {"validation_loss": evaluated.loss, **scores}

        return validate

    def _tuned(self, made: LoadedModel) -> Task:
        """The task as this model shall decode: its own no-answer threshold."""
        task = self.task
        if not (isinstance(task, QuestionAnswering) and task.no_answer):
            return task
        rows = self.inputs.splits["validation"].rows
        evaluated = evaluate_model(
            made.model,
            name="",
            split="validation",
            task=task,
            rows=rows,
            tokenizer=made.text,
            batch_size=self.recipe.training.per_device_eval_batch_size,
            bootstrap_samples=0,
        )
        return task.tune_no_answer_threshold(rows, evaluated.predictions)

    def _compare_reloaded(self, folder: Path, made: LoadedModel) -> None:
        """What was saved must be what was trained: layers, labels, vocabulary and weights."""
        again = load_model(str(folder), self.task.name, labels=self.task.labels)
        rows = self.inputs.splits["validation"].rows[:2]
        move_to(again.model, made.model.device)
        batch = self.task.encode(rows, [made.text])[:2]
        mirrored = self.task.encode(rows, [again.text])[:2]
        for one, two in zip(batch, mirrored, strict=True):
            mine, theirs = one.encodings[0], two.encodings[0]
            same_pieces = mine.input_ids.tolist() == theirs.input_ids.tolist()
            with torch.inference_mode():
                ids = torch.from_numpy(mine.input_ids)[None].to(made.model.device)
                left, right = made.model(input_ids=ids), again.model(input_ids=ids)
            equal = all(
                torch.allclose(a, b, atol=1e-4)
                for a, b in zip(left.to_tuple(), right.to_tuple(), strict=True)
                if isinstance(a, torch.Tensor)
            )
            if not (same_pieces and equal):
                raise ModelError(
                    f"{folder} does not reload as the model that was trained "
                    f"({'weights' if same_pieces else 'tokenizer'} differ). This is a bug in "
                    "destilo; please report it with the recipe."
                )

    @cached_property
    def _tokenizers(self) -> TokenizerStore:
        return TokenizerStore(
            self.path / _TOKENIZERS,
            texts=lambda: texts(self.inputs.splits),
            texts_digest=self.inputs.learning_digest,
            max_length=self.recipe.max_length,
            processes=self.processes,
        )

    # -- models --------------------------------------------------------------------------

    def _untrained_teacher(self, spec: TeacherSpec) -> LoadedModel:
        return untrained_teacher(
            spec,
            task=self.task,
            tokenizers=self._tokenizers,
            seed=self.recipe.training.seed,
        )

    def _layers_of(self, name: str) -> str:
        """Whose layers a model starts from: the baseline's owe the teacher nothing."""
        if name == "baseline" and self.recipe.evaluation.baseline_from == "encoder":
            return "encoder"
        return self.recipe.student.of

    def _untrained_student(self, of: str) -> LoadedModel:
        source: LoadedModel | None = None
        if self.recipe.teachers:
            first = self.recipe.teachers[0]
            from_encoder = of == "encoder" and (first.encoder or first.finetune) is not None
            source = self._untrained_teacher(first) if from_encoder else self._teacher(0)
        return untrained_student(
            self.recipe.student,
            task=self.task,
            teacher=source,
            tokenizers=self._tokenizers,
            seed=self.recipe.training.seed,
        )

    def _teacher(self, number: int) -> LoadedModel:
        spec = self.recipe.teachers[number]
        if spec.finetune is not None:
            return load_model(
                str(self.path / teacher_name(number)), self.task.name, labels=self.task.labels
            )
        assert spec.model is not None  # the schema's rule
        tokenizer = spec.tokenizer if isinstance(spec.tokenizer, str) else None
        return load_model(
            spec.model,
            self.task.name,
            labels=self.task.labels,
            revision=spec.revision,
            tokenizer=tokenizer,
        )

    def _live(self, teacher: LoadedModel, place: int) -> LiveTeacher:
        return LiveTeacher(
            model=teacher.model.eval(),
            heads=tuple(self.task.heads),
            encoding=place,
            alignment=self._alignment(place),
            pad_id=teacher.text.pad_id,
            bf16=self.recipe.training.bf16,
        )

    def _alignment(self, place: int) -> AlignmentMode:
        if self.recipe.alignment == "auto":
            return AlignmentMode.IDENTITY if place == 0 else AlignmentMode.WORD
        mode = AlignmentMode(self.recipe.alignment)
        if mode is AlignmentMode.IDENTITY and place != 0:
            raise InputError(
                "alignment is 'identity', but teacher and student have different tokenizers. "
                "Set it to auto or word."
            )
        return mode

    def _models(self) -> list[tuple[str, LoadedModel]]:
        """Every model of the run, teacher first."""
        models = [
            (teacher_name(number), self._teacher(number))
            for number in range(len(self.recipe.teachers))
        ]
        for name in ("student", "baseline"):
            if self._applies(name):
                loaded = load_model(str(self.path / name), self.task.name, labels=self.task.labels)
                models.append((name, loaded))
        for _, loaded in models:
            move_to(loaded.model, self.processes.device)
        return models

    def _decoding_task(self, name: str, loaded: LoadedModel) -> Task:
        """The task with the model's own no-answer threshold: saved with it, or tuned now."""
        task = self.task
        if not (isinstance(task, QuestionAnswering) and task.no_answer):
            return task
        specs = enumerate(self.recipe.teachers)
        as_they_are = [teacher_name(number) for number, spec in specs if spec.finetune is None]
        if name in as_they_are:
            return self._tuned(loaded)
        threshold = read_settings(self.path / name)["no_answer_threshold"]
        return replace(task, no_answer_threshold=threshold)

    # -- smaller things ------------------------------------------------------------------

    def _objective(self) -> Objective:
        terms = [
            make_term(spec.term, weight=spec.weight, temperature=spec.temperature)
            for spec in self.recipe.objective
            if spec.weight > 0
        ]
        return Objective(terms, [spec.weight for spec in self.recipe.teachers])

    def _preflight(
        self,
        student: LoadedModel,
        teachers: Sequence[LoadedModel],
        live: Sequence[LiveTeacher],
        objective: Objective,
        examples: Sequence[Example],
    ) -> None:
        for loaded in (student, *teachers):
            move_to(loaded.model, self.processes.device)
        findings = preflight(
            student=student,
            teachers=teachers,
            live=live,
            objective=objective,
            examples=examples,
            task=self.task,
            inputs=self.inputs,
            settings=self.recipe.training,
        )
        write_json(self.path / "preflight.json", findings.describe())
        for level, sentence in findings.sentences():
            self.progress.note(sentence, level=level)

    def _fidelity(
        self,
        student: LoadedModel,
        evaluated: Evaluated,
        teacher: LoadedModel,
        reference: Evaluated,
        split: str,
    ) -> Fidelity:
        tokenizers, places = _distinct([student, teacher])
        examples = self.task.encode(
            self.inputs.splits[split].rows, [item.text for item in tokenizers]
        )
        mine, theirs = evaluated.heads, reference.heads
        if places[1] != 0:  # other tokenizers cut other windows: both read the common ones
            mine, theirs = (
                tuple(self._heads(model, examples, place))
                for model, place in ((student, 0), (teacher, 1))
            )
        return measure_fidelity(
            mine,
            theirs,
            task=self.task,
            examples=examples,
            teacher_encoding=places[1],
            alignment=self._alignment(places[1]),
        )

    def _heads(
        self, loaded: LoadedModel, examples: Sequence[Example], place: int
    ) -> list[HeadArrays]:
        heads, _ = predict_heads(
            loaded.model,
            [example.encodings[place] for example in examples],
            kinds=self.task.heads,
            pad_id=loaded.text.pad_id,
            batch_size=self.recipe.training.per_device_eval_batch_size,
        )
        return heads

    def _steps_per_epoch(self, n_examples: int) -> int:
        one = self.recipe.training.model_copy(update={"max_steps": -1, "num_train_epochs": 1.0})
        return planned_steps(n_examples, one, processes=self.processes.num_processes)

    def _evaluated_splits(self) -> tuple[str, ...]:
        there = ("validation", *self.inputs.tests)
        wanted = self.recipe.evaluation.splits
        if wanted is None:
            return there
        chosen = [name for name in there if name in wanted or name.split("-")[0] in wanted]
        if not chosen:
            raise InputError(
                f"evaluation.splits {list(wanted)} names no split of this recipe: "
                f"there are {', '.join(there)}."
            )
        return tuple(chosen)

    def _check_length(self, made: LoadedModel, name: str) -> None:
        positions = _positions(made.model)
        if self.recipe.max_length > positions:
            raise InputError(
                f"encoding.max_length is {self.recipe.max_length}, but the {name} model has "
                f"{positions} positions. Set encoding.max_length to {positions} or less."
            )

    def _result(self) -> RunResult:
        return read_result(self.path)


def read_result(path: Path) -> RunResult:
    """Read what a run has measured so far."""
    evaluations: tuple[EvalResult, ...] = ()
    profiles: tuple[ProfileResult, ...] = ()
    if (path / "evaluation.json").exists():
        text = json.loads((path / "evaluation.json").read_text(encoding="utf-8"))
        evaluations = tuple(EvalResult(**item) for item in text["results"])
    if (path / "profile.json").exists():
        text = json.loads((path / "profile.json").read_text(encoding="utf-8"))
        profiles = tuple(ProfileResult(**item) for item in text["results"])
    return RunResult(path, evaluations, profiles)


def teacher_name(number: int) -> str:
    """The folder of the teacher with this number (from 0)."""
    return "teacher" if number == 0 else f"teacher-{number + 1}"


def _distinct(models: Sequence[LoadedModel]) -> tuple[list[LoadedModel], list[int]]:
    """The models whose tokenizers differ, and for every model which of them it shares."""
    kept: list[LoadedModel] = []
    places: list[int] = []
    for model in models:
        digests = [item.text.digest for item in kept]
        if model.text.digest not in digests:
            kept.append(model)
            digests.append(model.text.digest)
        places.append(digests.index(model.text.digest))
    return kept, places


def _positions(model: PreTrainedModel) -> int:
    config = model.config
    positions = int(getattr(config, "max_position_embeddings", 10**9))
    shifted = config.model_type in ("roberta", "xlm-roberta", "camembert")
    return positions - config.pad_token_id - 1 if shifted else positions


def _sentence(result: EvalResult) -> str:
    score = result.main
    return (
        f"{result.model} on {result.split}: {result.main_metric} {100 * score.value:.2f} "
        f"[{100 * score.low:.2f}, {100 * score.high:.2f}], n = {score.n}"
    )
