"""What a model's JSON files say about it: read here without torch or transformers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from destilo.catalogue.models import hub_config
from destilo.recipe.paths import is_file, is_folder, looks_local


@dataclass(frozen=True, slots=True)
class ModelType:
    """The configuration keys and defaults of one architecture.

    Attributes:
        layers, width, heads, inner: Names of the keys, the architecture's own first.
        default_layers: Where the configuration says nothing.
        default_positions: Likewise.
        unused_positions: Positions that no piece can take (RoBERTa counts from ``pad + 1``).
    """

    layers: tuple[str, ...] = ("num_hidden_layers",)
    width: tuple[str, ...] = ("hidden_size",)
    heads: tuple[str, ...] = ("num_attention_heads",)
    inner: tuple[str, ...] = ("intermediate_size",)
    default_layers: int = 12
    default_positions: int = 512
    unused_positions: int = 0


_ROBERTA = ModelType(unused_positions=2)

MODEL_TYPES: dict[str, ModelType] = {
    "bert": ModelType(),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "electra": ModelType(),
    "roformer": ModelType(),
    "deberta-v2": ModelType(default_layers=24),
    "distilbert": ModelType(
        layers=("n_layers", "num_hidden_layers"),
        width=("dim", "hidden_size"),
        heads=("n_heads", "num_attention_heads"),
        inner=("hidden_dim",),
        default_layers=6,
    ),
    "albert": ModelType(),
    "modernbert": ModelType(default_layers=22, default_positions=8192),
}

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model before it is loaded.

    Attributes:
        source: As the recipe names it.
        config: Its configuration; of a hub model what the catalogue knows, else ``None``: the hub
            is not asked here.
        folder: Where it is, if here.
    """

    source: str
    config: Mapping[str, Any] | None = None
    folder: Path | None = None

    @property
    def model_type(self) -> ModelType | None:
        """Its architecture, where known."""
        return MODEL_TYPES.get(str((self.config or {}).get("model_type")))

    @property
    def layers(self) -> int | None:
        """How many layers it has, where known."""
        if self.config is None or self.model_type is None:
            return None
        count = first_of(self.config, self.model_type.layers)
        return count if isinstance(count, int) else self.model_type.default_layers

    @property
    def positions(self) -> int | None:
        """The longest window it can read, where known; ``None`` too where there is no limit."""
        kind = self.model_type
        if self.config is None or kind is None:
            return None
        relative = self.config.get("position_biased_input") is False
        if self.config.get("model_type") == "deberta-v2" and relative:
            return None
        positions = self.config.get("max_position_embeddings", kind.default_positions)
        return positions - kind.unused_positions if isinstance(positions, int) else None

    @property
    def has_two_separators(self) -> bool:
        """Whether a pair is set apart by two special pieces, as RoBERTa has it."""
        return self.model_type is _ROBERTA

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The labels of its head in order, where known."""
        names = (self.config or {}).get("id2label")
        if not isinstance(names, Mapping) or not names:
            return None
        ordered = sorted(names.items(), key=lambda pair: (len(str(pair[0])), str(pair[0])))
        return tuple(str(label) for _, label in ordered)

    @property
    def head(self) -> str | None:
        """The class it was saved as, such as ``BertForTokenClassification``."""
        architectures = (self.config or {}).get("architectures")
        return str(architectures[0]) if isinstance(architectures, list) and architectures else None

    @property
    def has_tokenizer(self) -> bool | None:
        """Whether tokenizer files stand beside it; ``None`` for a hub model."""
        if self.folder is None:
            return None
        return any(is_file(self.folder / name) for name in TOKENIZER_FILES)

    @property
    def tokenizer_digest(self) -> str | None:
        """A hash of its vocabulary and rules, where they are here; settings of use left out."""
        if self.folder is None:
            return None
        try:
            content = json.loads((self.folder / "tokenizer.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if isinstance(content, dict):
            content = {
                key: value for key, value in content.items() if key not in ("truncation", "padding")
            }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def first_of(config: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """Return the value of the first key that is there, else ``None``."""
    return next((config[name] for name in names if name in config), None)


def read_model_facts(source: str) -> ModelFacts:
    """Read what a model's folder, or a JSON file with its configuration, says.

    Raises:
        ValueError: With the reason, if it is here and cannot be a model.
    """
    path = Path(source)
    if is_file(path):
        return ModelFacts(source, _read_config(path))
    if is_folder(path):
        if not is_file(path / "config.json"):
            raise ValueError(f"the folder {source} holds no config.json")
        return ModelFacts(source, _read_config(path / "config.json"), path)
    if looks_local(source):
        raise ValueError(f"the folder {source} does not exist")
    return ModelFacts(source, hub_config(source))


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error})") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} is not a JSON object")  # noqa: TRY004  (callers catch one class)
    return config
