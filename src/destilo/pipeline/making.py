"""From a recipe's `teacher` and `student` to models and tokenizers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from destilo.errors import ModelError
from destilo.layer_map import check_layers, choose_layers
from destilo.models.folder import (
    LoadedModel,
    load_config,
    load_model,
    text_tokenizer,
)
from destilo.models.initialise import InitReport, initialise_from
from destilo.models.layers import architecture_of, layer_count
from destilo.models.student import cut_layers, fewer_layers, model_from_config, set_dropout
from destilo.models.vocabulary import transfer_embeddings
from destilo.pipeline.tokenizers import TokenizerStore
from destilo.recipe.schema import StudentSpec, TeacherSpec
from destilo.runs import digest, file_digest, folder_digest
from destilo.tasks import Task


def source_digest(source: str | None, revision: str | None = None) -> str:
    """What identifies a model or tokenizer: a local folder's content, a hub name and revision."""
    if source is None:
        return ""
    path = Path(source)
    if path.is_dir():
        return folder_digest(path)
    return file_digest(path) if path.is_file() else digest([source, revision])


def untrained_teacher(
    spec: TeacherSpec, *, task: Task, tokenizers: TokenizerStore, seed: int
) -> LoadedModel:
    """A teacher before its fine-tuning: its encoder with a fresh head, or random weights.

    Args:
        spec: The recipe's section.
        task: Decides the head and its labels.
        tokenizers: Loads or trains its tokenizer.
        seed: Of the new weights.
    """
    torch.manual_seed(seed)
    if spec.model is not None:
        tokenizer = spec.tokenizer if isinstance(spec.tokenizer, str) else None
        return load_model(
            spec.encoder or spec.model,
            task.name,
            labels=task.labels,
            new_head=True,
            revision=None if spec.encoder else spec.revision,
            tokenizer=tokenizer,
            config_changes=_as_deep_as(spec) if spec.encoder else None,
        )
    assert spec.config is not None  # the schema's rule, as is the next
    assert spec.tokenizer is not None
    model_type = str(spec.config.get("model_type", "bert"))
    made = tokenizers.make(spec.tokenizer, model_type=model_type)
    torch.manual_seed(seed)
    model = model_from_config(
        spec.config,
        task.name,
        labels=task.labels,
        vocab_size=len(made),
        pad_id=_pad_id(made),
    )
    return LoadedModel(model, made, text_tokenizer(made, model.config))


def _as_deep_as(spec: TeacherSpec) -> dict[str, Any]:
    """Keep the first layers of the encoder where the teacher was made from those alone."""
    assert spec.encoder is not None  # whoever asks has looked
    assert spec.model is not None
    encoder = load_config(spec.encoder)
    wanted = layer_count(load_config(spec.model, revision=spec.revision))
    return fewer_layers(encoder, wanted) if wanted < layer_count(encoder) else {}


def untrained_student(
    spec: StudentSpec,
    *,
    task: Task,
    teacher: LoadedModel | None,
    tokenizers: TokenizerStore,
    seed: int,
    told: Callable[[InitReport], None] | None = None,
) -> LoadedModel:
    """A student before its training.

    Args:
        spec: The recipe's section.
        task: Decides the head and its labels.
        teacher: The first teacher (or the encoder it came from), whose layers and tokenizer
            the student may take.
        tokenizers: Loads or trains its tokenizer.
        seed: Of new weights.
        told: Hears where the tensors of a student from a configuration came from.
    """
    torch.manual_seed(seed)
    if spec.from_ == "layers":
        if teacher is None:
            raise ModelError("student.from is 'layers', but the recipe has no teacher.")
        model = cut_layers(teacher.model, _layers(spec, teacher.model), dropout=spec.dropout)
        old = teacher.tokenizer
    elif spec.from_ == "checkpoint":
        model, old = _from_checkpoint(spec, task)
    else:
        return _from_config(
            spec, task=task, teacher=teacher, tokenizers=tokenizers, seed=seed, told=told
        )
    new = _student_tokenizer(
        spec,
        teacher=teacher,
        own=old,
        tokenizers=tokenizers,
        model_type=model.config.model_type,
    )
    if new is not old and _vocabulary(new) != _vocabulary(old):
        transfer_embeddings(model, old=old, new=new)
    return LoadedModel(model, new, text_tokenizer(new, model.config))


def _layers(spec: StudentSpec, model: PreTrainedModel) -> Sequence[int]:
    available = layer_count(model.config)
    if isinstance(spec.layers, tuple):
        return check_layers(spec.layers, available=available)
    wanted = spec.layers or max(1, available // 2)
    return choose_layers(available, wanted=wanted, layer_map=spec.layer_map)


def _from_checkpoint(
    spec: StudentSpec, task: Task
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if spec.model is None:
        raise ModelError("student.from is 'checkpoint': name it with `student.model`.")
    config = load_config(spec.model, revision=spec.revision)
    changes: dict[str, Any] = {}
    if isinstance(spec.layers, int):
        changes = fewer_layers(config, spec.layers)
    elif spec.layers is not None:
        raise ModelError(
            "student.layers is a list, which picks layers of the teacher; a checkpoint keeps "
            "its first layers: give a number."
        )
    if spec.dropout is not None:
        set_dropout(config, spec.dropout)
        changes |= {key: value for key, value in vars(config).items() if "dropout" in key}
    loaded = load_model(
        spec.model,
        task.name,
        labels=task.labels,
        new_head=True,
        revision=spec.revision,
        config_changes=changes,
    )
    return loaded.model, loaded.tokenizer


def _from_config(
    spec: StudentSpec,
    *,
    task: Task,
    teacher: LoadedModel | None,
    tokenizers: TokenizerStore,
    seed: int,
    told: Callable[[InitReport], None] | None,
) -> LoadedModel:
    if spec.config is None:
        raise ModelError("student.from is 'config': give `student.config`.")
    settings = _config_keys(spec.config) if isinstance(spec.config, str) else dict(spec.config)
    if isinstance(spec.layers, int):
        count_key = architecture_of(str(settings.get("model_type"))).count_key
        settings[count_key] = spec.layers
    tokenizer = _student_tokenizer(
        spec,
        teacher=teacher,
        own=None,
        tokenizers=tokenizers,
        model_type=str(settings.get("model_type", "bert")),
    )
    torch.manual_seed(seed)
    model = model_from_config(
        settings,
        task.name,
        labels=task.labels,
        vocab_size=len(tokenizer),
        pad_id=_pad_id(tokenizer),
    )
    if spec.dropout is not None:
        set_dropout(model.config, spec.dropout)
        torch.manual_seed(seed)
        model = type(model)._from_config(model.config)
    made = LoadedModel(model, tokenizer, text_tokenizer(tokenizer, model.config))
    if spec.init != "random" and teacher is not None:
        report = _initialise(spec, made, teacher)
        if told is not None:
            told(report)
    return made


def _initialise(spec: StudentSpec, made: LoadedModel, teacher: LoadedModel) -> InitReport:
    source = teacher.model
    kinds = made.model.config.model_type, source.config.model_type
    if kinds[0] != kinds[1]:
        raise ModelError(
            f"student.init is '{spec.init}', but the student is {kinds[0]} and the teacher "
            f"{kinds[1]}: none of its tensors has a place. Use its model_type, or init: random."
        )
    if _vocabulary(made.tokenizer) != _vocabulary(teacher.tokenizer):
        source = copy.deepcopy(source)
        transfer_embeddings(source, old=teacher.tokenizer, new=made.tokenizer)
    available, wanted = layer_count(source.config), layer_count(made.model.config)
    if wanted > available:
        raise ModelError(
            f"The student has {wanted} layers, the teacher {available}: it cannot begin with "
            "layers of the teacher. Use student.init: random, or fewer layers."
        )
    layers = choose_layers(available, wanted=wanted, layer_map=spec.layer_map)
    return initialise_from(made.model, source, method=spec.init, layers=layers)


def _config_keys(source: str) -> dict[str, Any]:
    keys: dict[str, Any] = load_config(source).to_diff_dict()
    dropped = (
        "transformers_version",
        "architectures",
        "id2label",
        "label2id",
        "vocab_size",
        "pad_token_id",
        "dtype",
        "_name_or_path",
    )
    return {key: value for key, value in keys.items() if key not in dropped}


def _student_tokenizer(
    spec: StudentSpec,
    *,
    teacher: LoadedModel | None,
    own: PreTrainedTokenizerBase | None,
    tokenizers: TokenizerStore,
    model_type: str,
) -> PreTrainedTokenizerBase:
    choice = spec.tokenizer
    if choice == "teacher":
        if teacher is None:
            raise ModelError("student.tokenizer is 'teacher', but the recipe has no teacher.")
        return teacher.tokenizer
    if choice == "own":
        if own is None:
            raise ModelError(
                "student.tokenizer is 'own', but a student from a configuration has none: give "
                "a folder, or {algorithm, vocab_size} to train one."
            )
        return own
    return tokenizers.make(choice, model_type=model_type)


def _pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    if tokenizer.pad_token_id is None:
        raise ModelError("The tokenizer has no padding piece; add one ([PAD] or <pad>) first.")
    return int(tokenizer.pad_token_id)


def _vocabulary(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    return vocabulary
