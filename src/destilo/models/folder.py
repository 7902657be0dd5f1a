"""Models and tokenizers in Hugging Face layout: load with checks, save whole or not at all.

A folder that destilo writes holds ``config.json`` (with the labels), ``model.safetensors``, the
tokenizer files and ``destilo.json``: the settings of the task, so that whoever loads the folder
encodes and decodes as training did.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from destilo.errors import DestiloError, ModelError
from destilo.models.labels import (
    label_names,
    label_order,
    permute_labels,
    renew_output,
    set_labels,
)
from destilo.models.layers import architecture_of
from destilo.tasks import TextTokenizer, task_from_settings

SETTINGS_FILE = "destilo.json"

AUTO_CLASSES: dict[str, Any] = {
    "text-classification": AutoModelForSequenceClassification,
    "token-classification": AutoModelForTokenClassification,
    "question-answering": AutoModelForQuestionAnswering,
}

_REMEDY = "Copy or fetch that model again; if a run made it, type the run's command again."

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


def load_config(source: str, *, revision: str | None = None) -> Any:
    """Load a configuration from a folder or the hub.

    Raises:
        ModelError: If there is none, or its architecture is not known.
    """
    try:
        config = AutoConfig.from_pretrained(source, revision=revision)
    except (OSError, ValueError, StrictDataclassError) as error:
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
    except Exception as error:  # a damaged tokenizer.json fails in many ways
        raise ModelError(_damaged_json(folder) or _not_found(source, error)) from error
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise ModelError(f"{source} has no fast tokenizer; convert it to tokenizer.json first.")
    return tokenizer


def _damaged_json(folder: Path) -> str | None:
    """Name the file that libraries leave out when they say what is wrong with it."""
    for path in sorted(folder.glob("*.json")):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            return f"{path} is damaged: {error}. {_REMEDY}"
    return None


def text_tokenizer(tokenizer: PreTrainedTokenizerBase, config: Any) -> TextTokenizer:
    """The tokenizer as tasks use it: segments only where the model has them."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return TextTokenizer.from_folder(Path(folder), uses_token_type_ids=has_segments(config))


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
        new_head: The model is an encoder that gets a fresh head (from torch's global seed). A
            head that it brings along is kept only if it has exactly these labels.
        revision: Of a hub model.
        config_changes: Configuration keys to override (fewer layers, dropout).
        tokenizer: Where the tokenizer is, if not beside the model.

    Raises:
        ModelError: If the model is missing, damaged or has no trained head, if its labels are
            not the task's, or if its tokenizer is another model's.
    """
    config = load_config(source, revision=revision)
    for key, value in (config_changes or {}).items():
        setattr(config, key, value)
    other_labels = new_head and sorted(label_names(config.id2label)) != sorted(labels)
    config.problem_type = None  # classes exclude each other, whatever the encoder did before
    order = None
    if not labels:
        config.num_labels = 2  # start and end, also where the encoder tagged something before
    elif other_labels:
        set_labels(config, labels)
    else:
        order = label_order(config.id2label, labels, source)
    model, report = _load_weights(source, task, config=config, revision=revision)
    fresh = _check_report(model, report, source=source, task=task, new_head=new_head)
    if labels and other_labels and not fresh:
        renew_output(model, len(labels))
    if order is not None:
        permute_labels(model, order=order, labels=labels)
    loaded = load_tokenizer(tokenizer or source, revision=None if tokenizer else revision)
    _check_vocabulary(model, loaded, source=source)
    return LoadedModel(model, loaded, text_tokenizer(loaded, model.config))


def _load_weights(
    source: str, task: str, *, config: Any, revision: str | None
) -> tuple[PreTrainedModel, Mapping[str, Any]]:
    try:
        model, report = AUTO_CLASSES[task].from_pretrained(
            source,
            config=config,
            revision=revision,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # `_check_report` says which tensors and what to do
            output_loading_info=True,
        )
    except SafetensorError as error:
        raise ModelError(f"The weights in {source} are damaged: {error}. {_REMEDY}") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(_not_found(source, error)) from error
    return model, report


def _check_report(
    model: PreTrainedModel,
    report: Mapping[str, Any],
    *,
    source: str,
    task: str,
    new_head: bool,
) -> bool:
    """Refuse weights that transformers replaced by random ones, but for a new head.

    Returns:
        Whether any weight of the head is new.
    """
    mismatched = (key if isinstance(key, str) else key[0] for key in report["mismatched_keys"])
    random = sorted({*report["missing_keys"], *mismatched})
    body = f"{model.base_model_prefix}."
    # Encoders are often published without the pooler, which only classification of texts needs.
    broken = [name for name in random if name.startswith(body) and ".pooler." not in name]
    if broken:
        raise ModelError(
            f"The weights in {source} do not fit its config.json: {_some(broken)} missing or of "
            "another shape. Correct config.json, or download the model again."
        )
    if random and not new_head:
        raise ModelError(
            f"{source} has no trained head for {task}: {_some(random)} not in its weights. Use a "
            "model that is fine-tuned for this task, or add `finetune:` to train a head."
        )
    return any(not name.startswith(body) for name in random)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:2])
    if len(names) > 2:
        return f"{shown} and {len(names) - 2} more are"
    return f"{shown} {'is' if len(names) == 1 else 'are'}"


def _check_vocabulary(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, source: str
) -> None:
    """Refuse a tokenizer whose pieces the model has no embeddings for."""
    embeddings = model.get_input_embeddings()
    assert isinstance(embeddings, torch.nn.Embedding)
    pieces: Iterable[int] = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False).values()
    special = (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id)
    highest = max([*pieces, *(piece for piece in special if piece is not None)], default=0)
    if highest >= embeddings.num_embeddings:
        raise ModelError(
            f"The tokenizer for {source} has a piece number {highest}, but the model has "
            f"embeddings for {embeddings.num_embeddings} pieces only: they do not belong "
            "together. Name the model's own tokenizer."
        )


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
    try:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        _name_inputs(partial, model.config)
        text = json.dumps(settings, ensure_ascii=False, indent=2)
        (partial / SETTINGS_FILE).write_text(text + "\n", encoding="utf-8")
        replace_folder(partial, folder)
    except SafetensorError as error:  # a full disk, said in the library's own way
        shutil.rmtree(partial, ignore_errors=True)
        raise OSError(f"{folder} cannot be written: {error}") from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def has_segments(config: Any) -> bool:
    """Whether a model tells the parts of a pair apart by ``token_type_ids``."""
    return (getattr(config, "type_vocab_size", 0) or 0) > 1


def _name_inputs(folder: Path, config: Any) -> None:
    """Let the saved tokenizer give what this model takes, whichever model it came from."""
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    names = ["input_ids", "token_type_ids", "attention_mask"]
    if not has_segments(config):
        names.remove("token_type_ids")
    text = json.dumps(settings | {"model_input_names": names}, ensure_ascii=False, indent=2)
    path.write_text(text + "\n", encoding="utf-8")


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
        ModelError: If the folder has none, or they make no task.
    """
    path = folder / SETTINGS_FILE
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{folder} holds no {SETTINGS_FILE}, so it is not a model that destilo wrote."
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}. {_REMEDY}") from error
    try:
        task_from_settings(settings)
    except (DestiloError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is damaged: {describe(error)} {_REMEDY}") from error
    return settings


def _not_found(source: str, error: Exception) -> str:
    folder = Path(source)
    reason = describe(error)
    if folder.exists():
        return f"The model in {source} cannot be loaded: {reason} {_REMEDY}"
    return (
        f"The model '{source}' is neither a folder here nor could it be fetched from the hub: "
        f"{reason} Give the path of a local folder (config.json, model.safetensors, "
        "tokenizer.json), or go online."
    )


def describe(error: Exception) -> str:
    """Another library's error in one line, ended by a full stop."""
    if isinstance(error, StrictDataclassError):  # the second line says what is wrong
        text = " ".join(str(error).split())
    else:
        text = str(error).strip().split("\n")[0]
    known = OSError | ValueError | RuntimeError | StrictDataclassError | DestiloError
    if not isinstance(error, known):
        text = f"{type(error).__name__}: {text}"
    return text if text.endswith((".", "!", "?")) else f"{text}."


def move_to(model: torch.nn.Module, device: torch.device) -> None:
    """Move a model to a device."""
    model.to(device)
