"""Models and tokenizers in Hugging Face layout: load with checks, save whole or not at all.

A folder that destilo writes holds ``config.json`` (with the labels), ``model.safetensors``, the
tokenizer files and ``destilo.json``: the settings of the task, so that whoever loads the folder
encodes and decodes as training did.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from destilo.errors import ModelError
from destilo.models.layers import architecture_of
from destilo.tasks import TextTokenizer

SETTINGS_FILE = "destilo.json"

AUTO_CLASSES: dict[str, Any] = {
    "text-classification": AutoModelForSequenceClassification,
    "token-classification": AutoModelForTokenClassification,
    "question-answering": AutoModelForQuestionAnswering,
}

_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model")


@dataclass(slots=True)
class LoadedModel:
    """A model with the tokenizer that feeds it.

    Attributes:
        model: With the task's head, in float32.
        tokenizer: The transformers tokenizer, to be saved beside the model.
        text: The same tokenizer as tasks use it.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    text: TextTokenizer


def label_maps(labels: Sequence[str]) -> dict[str, Any]:
    """The label keys of a transformers configuration; empty without labels."""
    if not labels:
        return {}
    return {
        "num_labels": len(labels),
        "id2label": dict(enumerate(labels)),
        "label2id": {label: number for number, label in enumerate(labels)},
    }


def load_config(source: str, *, revision: str | None = None) -> Any:
    """Load a configuration from a folder or the hub.

    Raises:
        ModelError: If there is none, or its architecture is not known.
    """
    try:
        config = AutoConfig.from_pretrained(source, revision=revision)
    except (OSError, ValueError) as error:
        raise ModelError(_not_found(source, error)) from error
    architecture_of(config.model_type)
    return config


def load_tokenizer(source: str, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Load a tokenizer from a folder or the hub, refusing folders that have none.

    Raises:
        ModelError: If the folder holds no tokenizer (transformers would build an empty one).
    """
    folder = Path(source)
    if folder.is_dir() and not any((folder / name).exists() for name in _TOKENIZER_FILES):
        raise ModelError(
            f"{folder} holds no tokenizer (none of {', '.join(_TOKENIZER_FILES)}). Save the "
            "tokenizer beside the model with tokenizer.save_pretrained."
        )
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            source, revision=revision
        )
    except (OSError, ValueError) as error:
        raise ModelError(_not_found(source, error)) from error
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise ModelError(f"{source} has no fast tokenizer; convert it to tokenizer.json first.")
    return tokenizer


def text_tokenizer(tokenizer: PreTrainedTokenizerBase, config: Any) -> TextTokenizer:
    """The tokenizer as tasks use it: segments only where the model has them."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return TextTokenizer.from_folder(
            Path(folder), uses_token_type_ids=getattr(config, "type_vocab_size", 0) > 1
        )


def load_model(
    source: str,
    task: str,
    *,
    labels: Sequence[str] = (),
    new_head: bool = False,
    revision: str | None = None,
    config_changes: Mapping[str, Any] | None = None,
    tokenizer: str | None = None,
) -> LoadedModel:
    """Load a model for a task, with its tokenizer.

    Args:
        source: A folder in Hugging Face layout or a hub id.
        task: The task's name.
        labels: The task's classes in order; a fine-tuned model's head is permuted to them.
        new_head: The model is an encoder that gets a fresh head (from torch's global seed).
        revision: Of a hub model.
        config_changes: Configuration keys to override (fewer layers, dropout).
        tokenizer: Where the tokenizer is, if not beside the model.

    Raises:
        ModelError: If the model is missing, damaged, or its labels are not the task's.
    """
    config = load_config(source, revision=revision)
    for key, value in (config_changes or {}).items():
        setattr(config, key, value)
    if new_head and labels:
        for key, value in label_maps(labels).items():
            setattr(config, key, value)
    order = None if new_head or not labels else label_order(config.id2label, labels, source)
    try:
        model: PreTrainedModel = AUTO_CLASSES[task].from_pretrained(
            source, config=config, revision=revision, dtype=torch.float32
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(_not_found(source, error)) from error
    except Exception as error:  # safetensors raises a class of its own for damaged files
        if type(error).__name__ != "SafetensorError":
            raise
        raise ModelError(f"The weights in {source} are damaged: {error}.") from error
    if order is not None:
        permute_labels(model, order=order, labels=labels)
    loaded = load_tokenizer(tokenizer or source, revision=None if tokenizer else revision)
    return LoadedModel(model, loaded, text_tokenizer(loaded, model.config))


def label_order(
    id2label: Mapping[int, str], labels: Sequence[str], source: str
) -> tuple[int, ...] | None:
    """Where each of the task's labels stands in a model's head.

    Returns:
        Head index per task label; ``None`` where the order is already the same.

    Raises:
        ModelError: If the two label sets differ.
    """
    theirs = [str(id2label[index]) for index in sorted(id2label)]
    if theirs == list(labels):
        return None
    if sorted(theirs) != sorted(labels):
        unknown = sorted(set(labels) - set(theirs))
        extra = sorted(set(theirs) - set(labels))
        raise ModelError(
            f"The labels of {source} are not those of the data: "
            f"{'unknown to the model: ' + ', '.join(unknown) + '. ' if unknown else ''}"
            f"{'not in the data: ' + ', '.join(extra) + '. ' if extra else ''}"
            "Use a model for this label set, give `data.labels` with exactly the model's labels, "
            "or add `finetune:` to train a new head."
        )
    return tuple(theirs.index(label) for label in labels)


def permute_labels(model: PreTrainedModel, *, order: Sequence[int], labels: Sequence[str]) -> None:
    """Reorder the rows of a model's classification layer in place, and its label maps."""
    candidates = [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.Linear) and module.out_features == len(order)
    ]
    if not candidates:
        raise ModelError(f"{type(model).__name__} has no output layer of {len(order)} labels.")
    layer, index = candidates[-1], torch.tensor(list(order))
    with torch.no_grad():
        layer.weight.copy_(layer.weight[index].clone())
        if layer.bias is not None:
            layer.bias.copy_(layer.bias[index].clone())
    for key, value in label_maps(labels).items():
        setattr(model.config, key, value)


def save_model(
    folder: Path,
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: Mapping[str, Any],
) -> None:
    """Write a model folder in one rename: it is there whole, or not at all.

    Args:
        folder: Where to; an existing one is replaced.
        model: Saved as safetensors with its configuration.
        tokenizer: Saved beside it, without truncation or padding state.
        settings: The task's settings for ``destilo.json``.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    text = json.dumps(settings, ensure_ascii=False, indent=2)
    (partial / SETTINGS_FILE).write_text(text + "\n", encoding="utf-8")
    replace_folder(partial, folder)


def replace_folder(partial: Path, folder: Path) -> None:
    """Put a finished folder in the place of an old one."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    partial.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def read_settings(folder: Path) -> dict[str, Any]:
    """The task settings of a folder that destilo wrote.

    Raises:
        ModelError: If the folder has none.
    """
    path = folder / SETTINGS_FILE
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{folder} holds no {SETTINGS_FILE}, so it is not a model that destilo wrote."
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}.") from error
    return settings


def _not_found(source: str, error: Exception) -> str:
    folder = Path(source)
    reason = str(error).strip().split("\n")[0]
    if folder.exists():
        return f"The model in {source} cannot be loaded: {reason}"
    return (
        f"The model '{source}' is neither a folder here nor could it be fetched from the hub: "
        f"{reason} Give the path of a local folder (config.json, model.safetensors, "
        "tokenizer.json), or go online."
    )
