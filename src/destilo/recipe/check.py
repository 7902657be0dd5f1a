"""Refuse what a recipe cannot have, before any weight is loaded.

The schema knows what each key may hold; this module knows what goes together, and what the files
and model folders that the recipe names allow. It reads JSON only, never torch or transformers.
"""

from __future__ import annotations

import re

from destilo.errors import ModelError, RecipeError, suggest
from destilo.layer_map import LAYER_MAPS, choose_layers
from destilo.recipe.catalogue import TASKS
from destilo.recipe.check_data import check_data
from destilo.recipe.check_layers import check_layer_terms
from destilo.recipe.check_models import check_models, check_tokenizers
from destilo.recipe.findings import Finding, Findings
from destilo.recipe.model_facts import ModelFacts
from destilo.recipe.places import Key
from destilo.recipe.schema import Recipe

__all__ = ["Finding", "check_recipe", "require_valid"]


def check_recipe(recipe: Recipe) -> list[Finding]:
    """Find what is impossible (errors) or probably not meant (warnings) in a recipe."""
    findings = Findings(recipe)
    check_data(recipe, findings)
    _check_objective(recipe, findings)
    teachers, student = check_models(recipe, findings)
    _check_layers(recipe, student, findings)
    check_layer_terms(recipe, teachers, student, findings)
    _check_init(recipe, teachers, student, findings)
    check_tokenizers(recipe, teachers, student, findings)
    _check_lengths(recipe, [*teachers, student], findings)
    _check_evaluation(recipe, findings)
    _check_steps(recipe, findings)
    return findings.found


def require_valid(recipe: Recipe) -> None:
    """Check a recipe and refuse it if it cannot run.

    Raises:
        RecipeError: With all errors, one a line.
    """
    errors = [str(finding) for finding in check_recipe(recipe) if finding.level == "error"]
    if errors:
        raise RecipeError("\n".join(errors))


def _check_steps(recipe: Recipe, findings: Findings) -> None:
    """Refuse trainings of no steps: the recipe's, a teacher's and those of the stages."""
    given: list[tuple[Key, int | None]] = [(("training",), recipe.training.max_steps)]
    for number, teacher in enumerate(recipe.teachers):
        start: Key = ("teacher", number) if isinstance(recipe.teacher, tuple) else ("teacher",)
        if teacher.finetune is not None:
            given.append(((*start, "finetune"), teacher.finetune.max_steps))
    for number, stage in enumerate(recipe.stages or ()):
        given.append((("stages", number, "training"), stage.training.max_steps))
    for key, steps in given:
        if steps == 0:
            findings.error(
                (*key, "max_steps"), "0 steps train nothing.", "Write -1 to go by epochs."
            )


def _check_objective(recipe: Recipe, findings: Findings) -> None:
    for stage_number, stage in enumerate(recipe.lessons):
        start: Key = () if recipe.stages is None else ("stages", stage_number)
        if all(term.weight == 0 for term in stage.objective):
            findings.error(
                (*start, "objective"),
                "all weights are 0: nothing to learn.",
                "Give one a weight above 0.",
            )
        for number, term in enumerate(stage.objective):
            if term.distils and not recipe.teachers:
                findings.error(
                    (*start, "objective", number, "term"),
                    f"`{term.term}` compares with a teacher, and there is none.",
                    "Add `teacher:`, or use {term: labels} alone for plain fine-tuning.",
                )
    if all(term.on_layers for term in recipe.lessons[-1].objective if term.weight > 0):
        findings.warn(
            ("objective",) if recipe.stages is None else ("stages",),
            "no term of the last training reaches the task's head: it stays as it begins.",
            "Add {term: kl} or {term: labels}, or a stage with them.",
        )
    if recipe.teachers and not recipe.distils:
        findings.warn(
            ("teacher",),
            "no term of the objective looks at the teacher's outputs.",
            "Add a term such as {term: kl, weight: 0.5, temperature: 2.0}.",
        )


def _check_layers(recipe: Recipe, origin: ModelFacts, findings: Findings) -> None:
    """Check ``student.layers``, ``layer_map`` and ``of`` against the model they are taken from."""
    student = recipe.student
    key = ("student", "layers")
    step = re.fullmatch(r"every:([1-9][0-9]*)", student.layer_map)
    if step is None and student.layer_map not in LAYER_MAPS[:3]:
        message = suggest(student.layer_map, LAYER_MAPS, kind="layer map")
        findings.error(("student", "layer_map"), message, "K is a whole number from 1.")
    if student.from_ == "layers":
        _check_origin_of_layers(recipe, findings)
    elif isinstance(student.layers, tuple):
        findings.error(
            key,
            f"a list picks layers of the teacher, but the student is from {student.from_}.",
            "Give a number: of a checkpoint, that many of its first layers are kept.",
        )
        return
    numbers = student.layers if isinstance(student.layers, tuple) else ()
    if list(numbers) != sorted(set(numbers)):
        findings.error(
            key, f"{list(numbers)} is not ascending, each layer once.", "Put them in order."
        )
    available = origin.layers
    if student.layers is None or available is None or student.from_ == "config":
        return
    wanted = max(numbers, default=0) or student.layers
    if isinstance(wanted, int) and wanted > available:
        what = f"layer {wanted}" if numbers else f"{wanted} layers"
        findings.error(
            key,
            f"{what} of a model ({origin.source}) that has {available}.",
            f"Use at most {available}.",
        )
    elif step and not numbers and isinstance(wanted, int) and int(step[1]) * wanted > available:
        findings.error(
            ("student", "layer_map"),
            f"{student.layer_map} for {wanted} layers reaches layer {int(step[1]) * wanted}, "
            f"but {origin.source} has {available}.",
            f"Use every:{available // wanted} or uniform.",
        )


def _check_origin_of_layers(recipe: Recipe, findings: Findings) -> None:
    student = recipe.student
    if not recipe.teachers:
        findings.error(
            ("student", "from"),
            "there is no teacher to take layers from.",
            "Add `teacher:`, or write `from: checkpoint` with `model:`.",
        )
        return
    if student.layers is None:
        findings.error(
            ("student",), "a student from layers needs `layers`.", "Add `layers: 3`, or a list."
        )
    first = recipe.teachers[0]
    if student.of == "encoder" and first.origin is None:
        findings.error(
            ("student", "of"),
            "the recipe does not say which encoder the teacher was fine-tuned from.",
            "Name it with `teacher.encoder`, or write `of: teacher`.",
        )


def _check_init(
    recipe: Recipe, teachers: list[ModelFacts], facts: ModelFacts, findings: Findings
) -> None:
    student = recipe.student
    if student.init == "random":
        return
    if student.from_ != "config":
        findings.error(
            ("student", "init"),
            f"means nothing for a student from {student.from_}.",
            "Remove it, or write `from: config`.",
        )
    elif not teachers:
        findings.error(
            ("student", "init"),
            f"`{student.init}` begins with the teacher's tensors, and there is no teacher.",
            "Add `teacher:`, or write `init: random`.",
        )
    else:
        _check_init_fits(recipe, teachers[0], facts, findings)


def _check_init_fits(
    recipe: Recipe, teacher: ModelFacts, facts: ModelFacts, findings: Findings
) -> None:
    """Check that the teacher has tensors that a student of this shape can begin with."""
    if teacher.config is None or facts.config is None:
        return
    kinds = facts.config.get("model_type"), teacher.config.get("model_type")
    if kinds[0] != kinds[1]:
        findings.error(
            ("student", "init"),
            f"`{recipe.student.init}` begins with the teacher's tensors, but the student "
            f"is {kinds[0]} and the teacher {kinds[1]}.",
            f"Write `student.config.model_type: {kinds[1]}`, or `init: random`.",
        )
        return
    given = recipe.student.layers
    wanted = given if isinstance(given, int) else facts.layers
    if wanted is None or teacher.layers is None:
        return
    try:
        choose_layers(teacher.layers, wanted=wanted, layer_map=recipe.student.layer_map)
    except ModelError as error:
        findings.error(
            ("student", "init"),
            f"`{recipe.student.init}` begins with layers of the teacher. {error}",
            "`init: random` needs none.",
        )


def _check_lengths(recipe: Recipe, models: list[ModelFacts], findings: Findings) -> None:
    """Check that windows fit the models' positions, and the context into what a question leaves."""
    known = [(facts.positions, facts) for facts in models if facts.positions is not None]
    for positions, facts in sorted(known, key=lambda pair: pair[0])[:1]:
        for key, length in (
            (("encoding", "max_length"), recipe.max_length),
            (("profile", "sequence_length"), recipe.profile.sequence_length),
        ):
            if length > positions:
                findings.error(
                    key,
                    f"{length} pieces, but {facts.source} reads {positions} at most.",
                    f"Write {'.'.join(key)}: {positions} or less.",
                )
    if recipe.task != "question-answering":
        return
    encoding = recipe.encoding
    specials = 4 if any(facts.has_two_separators for facts in models) else 3
    left = recipe.max_length - encoding.max_question_length - specials
    if left <= encoding.doc_stride:
        findings.error(
            ("encoding", "doc_stride"),
            f"windows share {encoding.doc_stride} pieces, but a window of {recipe.max_length} "
            f"leaves {max(left, 0)} for the context beside the longest question: "
            "they would not move on.",
            "Make doc_stride or max_question_length smaller, or max_length greater.",
        )


def _check_evaluation(recipe: Recipe, findings: Findings) -> None:
    evaluation = recipe.evaluation
    metrics = (*TASKS[recipe.task].metrics, "validation_loss")
    if evaluation.select_by is not None and evaluation.select_by not in metrics:
        message = suggest(evaluation.select_by, metrics, kind=f"metric of {recipe.task}")
        findings.error(("evaluation", "select_by"), message, "Name one of them.")
    tests = recipe.data.tests
    every = ("test",) if tests and "test" not in tests else ()  # stands for all named ones
    splits = ("validation", *every, *tests)
    for number, split in enumerate(evaluation.splits or ()):
        if split not in splits:
            message = suggest(split, splits, kind="split")
            findings.error(("evaluation", "splits", number), message, "Name splits of `data`.")
