"""Check teachers and student: that they exist, fit the task, each other and the windows."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from destilo.catalogue.models import list_models
from destilo.errors import suggest
from destilo.recipe.catalogue import TASKS
from destilo.recipe.findings import Findings
from destilo.recipe.model_facts import (
    MODEL_TYPES,
    TOKENIZER_FILES,
    ModelFacts,
    first_of,
    read_model_facts,
)
from destilo.recipe.paths import is_file, is_folder, looks_local
from destilo.recipe.places import Key
from destilo.recipe.schema import Recipe, TeacherSpec, TokenizerSpec

_NO_FACTS = ModelFacts("")


def check_models(recipe: Recipe, findings: Findings) -> tuple[list[ModelFacts], ModelFacts]:
    """Check each teacher and the student's origin.

    Returns:
        What is known of the teachers, and of the model the student is made of.
    """
    teachers = []
    for number, teacher in enumerate(recipe.teachers):
        key: Key = ("teacher", number) if isinstance(recipe.teacher, tuple) else ("teacher",)
        facts = _teacher_facts(key, teacher, findings)
        teachers.append(facts)
        _check_teacher_tokenizer(key, teacher, facts, findings)
        if teacher.finetune is None:
            _check_head(recipe, (*key, "model"), facts, findings)
            _check_labels(recipe, (*key, "model"), facts, findings)
        _check_encoder((*key, "encoder"), teacher, facts, findings)
    if teachers and sum(teacher.weight for teacher in recipe.teachers) == 0:
        findings.error(
            ("teacher",), "the weights of the teachers sum to 0.", "Give one a weight above 0."
        )
    return teachers, _student_facts(recipe, teachers, findings)


def check_tokenizers(
    recipe: Recipe, teachers: list[ModelFacts], student: ModelFacts, findings: Findings
) -> None:
    """Check the student's tokenizer, and that ``alignment: identity`` is possible."""
    choice, key = recipe.student.tokenizer, ("student", "tokenizer")
    origin = recipe.student.from_
    if choice == "teacher" and not teachers:
        findings.error(
            key,
            "there is no teacher to take the tokenizer from.",
            "Name a folder, or train one: {algorithm: wordpiece, vocab_size: 8000}.",
        )
    elif choice == "own" and origin != "checkpoint":
        findings.error(
            key,
            f"a student from {origin} has no tokenizer of its own.",
            "Write `teacher`, a folder, or {algorithm: ..., vocab_size: ...}.",
        )
    elif choice == "own":
        _check_has_tokenizer(("student", "model"), student, findings)
    elif isinstance(choice, str) and choice != "teacher":
        _check_tokenizer_folder(key, choice, findings)
    if recipe.alignment != "identity" or recipe.task == "text-classification":
        return
    if recipe.task == "question-answering" and any(t.cache != "off" for t in recipe.teachers):
        findings.error(
            ("alignment",),
            "identity pairs positions, but a cache holds the teacher's outputs by word.",
            "Write `alignment: word` (or `auto`), or `teacher.cache: off`.",
        )
        return
    for teacher, facts in zip(recipe.teachers, teachers, strict=True):
        if _same_tokenizer(recipe, teacher, facts, student) is False:
            findings.error(
                ("alignment",),
                "identity pairs positions, but the student's tokenizer is not the teacher's.",
                "Write `alignment: word` (or `auto`), or `student.tokenizer: teacher`.",
            )
            return


def _teacher_facts(key: Key, teacher: TeacherSpec, findings: Findings) -> ModelFacts:
    if teacher.config is not None:
        check_config((*key, "config"), teacher.config, findings)
        return ModelFacts("teacher.config", teacher.config)
    return _facts((*key, "model"), str(teacher.model), findings)


def _facts(key: Key, source: str, findings: Findings) -> ModelFacts:
    try:
        facts = read_model_facts(source)
    except ValueError as error:
        findings.error(
            key,
            f"{error}.",
            "Give a folder with config.json, model.safetensors and tokenizer.json, or a hub model.",
        )
        return _NO_FACTS
    names = [entry.name for entry in list_models()]
    meant = difflib.get_close_matches(source, names, n=1, cutoff=0.8)
    if facts.folder is None and "/" not in source and meant and source not in names:
        findings.warn(
            key,
            f"'{source}' is no folder and no name of the catalogue, and is looked for on the hub.",
            f"Did you mean '{meant[0]}'? `destilo list models` shows the names.",
        )
    if facts.config is not None and facts.model_type is None:
        _unknown_type(key, facts.config.get("model_type"), findings)
        return _NO_FACTS
    return facts


def _check_encoder(key: Key, teacher: TeacherSpec, facts: ModelFacts, findings: Findings) -> None:
    """Check that the encoder is there, and of the shape of what was fine-tuned from it."""
    if teacher.encoder is None:
        return
    encoder = _facts(key, teacher.encoder, findings)
    _check_has_tokenizer(key, encoder, findings)
    if encoder.config is None or facts.config is None:
        return
    kinds = (encoder.config.get("model_type"), facts.config.get("model_type"))
    layers = (encoder.layers, facts.layers)
    for what, mine, theirs in (("architecture", *kinds), ("number of layers", *layers)):
        first_ones = what == "number of layers" and (mine or 0) > (theirs or 0)
        if mine is not None and theirs is not None and mine != theirs and not first_ones:
            findings.error(
                key,
                f"{teacher.encoder} has another {what} ({mine}) than {facts.source} ({theirs}): "
                "that was not fine-tuned from it.",
                "Name the encoder that it was fine-tuned from, or leave the key out.",
            )
            return


def _unknown_type(key: Key, model_type: object, findings: Findings) -> None:
    if model_type is None:
        message = "the configuration has no model_type."
    else:
        message = suggest(str(model_type), MODEL_TYPES, kind="model_type")
    findings.error(key, message, f"destilo knows {', '.join(MODEL_TYPES)}.")


def _check_head(recipe: Recipe, key: Key, facts: ModelFacts, findings: Findings) -> None:
    """Check that a teacher used as it is was fine-tuned for the recipe's task."""
    if facts.config is None:
        return
    wanted = TASKS[recipe.task].architecture
    head = facts.head
    if head is not None and head.endswith(wanted):
        return
    trained_for = [
        name
        for name, task in TASKS.items()
        if head is not None and head.endswith(task.architecture)
    ]
    if trained_for:
        what = f"{facts.source} is a model for {trained_for[0]}, not for {recipe.task}."
    elif head is None:
        what = f"{facts.source} does not say what it was trained for (no `architectures`)."
    else:
        what = f"{facts.source} is an encoder ({head}) that was never trained for {recipe.task}."
    findings.error(
        key, what, "Add `finetune: {}` beside it to train it first, or name a model for the task."
    )


def _check_labels(recipe: Recipe, key: Key, facts: ModelFacts, findings: Findings) -> None:
    """Check that a teacher used as it is has the labels that the recipe fixes."""
    theirs, ours = facts.labels, recipe.data.labels
    if theirs is None or ours is None or recipe.task == "question-answering":
        return
    if sorted(theirs) == sorted(ours):
        return
    if len(theirs) != len(ours):
        what = f"{facts.source} has {len(theirs)} labels, `data.labels` has {len(ours)}."
    else:
        what = f"the labels of {facts.source} are not those of `data.labels`."
    unknown, extra = sorted(set(ours) - set(theirs)), sorted(set(theirs) - set(ours))
    details = [
        f"{title}: {', '.join(names)}."
        for title, names in (("Unknown to the model", unknown), ("Not in the data", extra))
        if names
    ]
    findings.error(
        key,
        " ".join([what, *details]),
        "Give `data.labels` the model's names, or add `finetune: {}` to train a new head.",
    )


def _check_teacher_tokenizer(
    key: Key, teacher: TeacherSpec, facts: ModelFacts, findings: Findings
) -> None:
    if isinstance(teacher.tokenizer, str):
        _check_tokenizer_folder((*key, "tokenizer"), teacher.tokenizer, findings)
    elif teacher.tokenizer is None:
        _check_has_tokenizer((*key, "model"), facts, findings)
    elif teacher.model is not None:
        findings.error(
            (*key, "tokenizer"),
            "a model that exists cannot read the pieces of a new tokenizer.",
            "Remove it, or make the teacher from `config`.",
        )


def _check_has_tokenizer(key: Key, facts: ModelFacts, findings: Findings) -> None:
    if facts.has_tokenizer is False:
        findings.error(
            key,
            f"{facts.source} holds no tokenizer (none of {', '.join(TOKENIZER_FILES)}); "
            "transformers would build an empty one, to which every word is unknown.",
            "Save the tokenizer there, or name one with `tokenizer:`.",
        )


def _check_tokenizer_folder(key: Key, source: str, findings: Findings) -> None:
    folder = Path(source)
    if is_folder(folder):
        _check_has_tokenizer(key, ModelFacts(source, folder=folder), findings)
    elif looks_local(source) or is_file(folder):
        findings.error(key, f"{source} is not a folder.", "Name the folder of a tokenizer.")


def check_config(key: Key, config: Mapping[str, Any], findings: Findings) -> None:
    """Check the configuration of a model that is made from nothing."""
    kind = MODEL_TYPES.get(str(config.get("model_type")))
    if kind is None:
        _unknown_type(key, config.get("model_type"), findings)
        return
    sizes = [kind.layers, kind.width, kind.heads, kind.inner]
    missing = [names[0] for names in sizes if first_of(config, names) is None]
    if missing:
        findings.error(
            key,
            f"{', '.join(missing)} missing, and {config['model_type']} by itself is big.",
            "Write the size you want.",
        )
        return
    for names in sizes:
        value = first_of(config, names)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            findings.error(
                (*key, names[0]), f"must be a whole number from 1, not {value!r}.", "Correct it."
            )
            return
    width, heads = first_of(config, kind.width), first_of(config, kind.heads)
    if width % heads:
        findings.error(
            key,
            f"{kind.width[0]} {width} cannot be shared out among {heads} heads.",
            f"Take a multiple of {heads}, such as {(width // heads + 1) * heads}.",
        )


def _student_facts(recipe: Recipe, teachers: list[ModelFacts], findings: Findings) -> ModelFacts:
    """Check the keys of the student's origin, and read what the origin says."""
    student = recipe.student
    unused = {
        "layers": ("model", "config", "revision"),
        "checkpoint": ("config",),
        "config": ("model", "revision"),
    }[student.from_]
    for name in unused:
        if getattr(student, name) is not None:
            findings.error(
                ("student", name),
                f"means nothing for a student from {student.from_}.",
                "Remove it, or change `from`.",
            )
    if student.from_ == "layers":
        return teachers[0] if teachers else _NO_FACTS
    needed = "model" if student.from_ == "checkpoint" else "config"
    given = getattr(student, needed)
    if given is None:
        findings.error(
            ("student",), f"a student from {student.from_} needs `{needed}`.", f"Add `{needed}:`."
        )
        return _NO_FACTS
    if isinstance(given, str):
        return _facts(("student", needed), given, findings)
    check_config(("student", needed), given, findings)
    return ModelFacts("student.config", given)


def _same_tokenizer(
    recipe: Recipe, teacher: TeacherSpec, facts: ModelFacts, student: ModelFacts
) -> bool | None:
    """Tell whether the student reads as a teacher does; ``None`` where that is not known here."""
    choice = recipe.student.tokenizer
    if choice == "teacher" and teacher is recipe.teachers[0]:
        return True
    if isinstance(choice, TokenizerSpec) or isinstance(teacher.tokenizer, TokenizerSpec):
        return False
    theirs = ModelFacts("", folder=Path(teacher.tokenizer)) if teacher.tokenizer else facts
    if choice == "own":
        ours = student
    elif choice == "teacher":
        first = recipe.teachers[0]
        if isinstance(first.tokenizer, TokenizerSpec):
            return False
        ours = ModelFacts("", folder=Path(first.tokenizer or first.model or ""))
    else:
        ours = ModelFacts("", folder=Path(choice))
    digests = theirs.tokenizer_digest, ours.tokenizer_digest
    return None if None in digests else digests[0] == digests[1]
