"""Models by name: published Spanish encoders, and the architectures of published students.

An entry says where the weights lie and, with its configuration alone, what the model is: that is
enough to count its parameters and products, or to build it with random weights without a network.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from destilo.errors import InputError, suggest

Role: TypeAlias = Literal["teacher", "student"]
Casing: TypeAlias = Literal["cased", "uncased"]

SEE_PAGE = "see its page"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model that recipes can name.

    Attributes:
        title: As papers write it.
        hub: Its name on the hub; ``None`` for an architecture without published weights.
        config: ``model_type`` and the keys of its transformers configuration.
        roles: What it is proposed for; any encoder can be fine-tuned for any task.
        layers: Run only so many layers of the model at ``hub`` (for ALBERT, whose layer is
            shared, that many turns of it); ``None`` for all.
        notes: What to know before choosing it.
    """

    name: str
    title: str
    hub: str | None
    config: dict[str, Any] = field(hash=False)
    casing: Casing
    roles: tuple[Role, ...]
    licence: str = SEE_PAGE
    layers: int | None = None
    notes: str = ""

    @property
    def model_type(self) -> str:
        """The architecture, such as ``bert``."""
        return str(self.config["model_type"])


def _bert(vocab_size: int, *, layers: int = 12, width: int = 768, inner: int = 3072) -> Any:
    return {
        "model_type": "bert",
        "vocab_size": vocab_size,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": 12,
        "intermediate_size": inner,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
    }


def _roberta(vocab_size: int, *, layers: int = 12, width: int = 768, heads: int = 12) -> Any:
    return {
        "model_type": "roberta",
        "vocab_size": vocab_size,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
    }


def _albert(*, layers: int = 12, width: int = 768, heads: int = 12) -> Any:
    return {
        "model_type": "albert",
        "vocab_size": 31_000,
        "embedding_size": 128,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
    }


_DISTILBERT = {
    "model_type": "distilbert",
    "vocab_size": 31_002,
    "dim": 768,
    "n_layers": 6,
    "n_heads": 12,
    "hidden_dim": 3072,
    "max_position_embeddings": 512,
}
_ALBETO_BASE = "dccuchile/albert-base-spanish"
_TEACHER: tuple[Role, ...] = ("teacher",)
_STUDENT: tuple[Role, ...] = ("student",)
_BOTH: tuple[Role, ...] = ("teacher", "student")
_BIG = "The paper fine-tunes it with learning rates from 1e-6 to 5e-6."


def _albeto(size: str, roles: tuple[Role, ...], config: Any, notes: str = "") -> ModelEntry:
    return ModelEntry(
        name=f"albeto-{size}",
        title=f"ALBETO {size}",
        hub=f"dccuchile/albert-{size}-spanish",
        config=config,
        casing="uncased",
        roles=roles,
        notes=notes,
    )


def _albeto_turns(layers: int) -> ModelEntry:
    return ModelEntry(
        name=f"albeto-base-{layers}",
        title=f"ALBETO base-{layers}",
        hub=_ALBETO_BASE,
        config=_albert(layers=layers),
        casing="uncased",
        roles=_STUDENT,
        layers=layers,
        notes=f"ALBETO base with its shared layer run {layers} times: the same weights, less work.",
    )


def _multilingual_student(size: str, config: Any) -> ModelEntry:
    return ModelEntry(
        name=f"dbert-{size}",
        title=f"dBERT-{size.capitalize()}",
        hub=None,
        config=config,
        casing="cased",
        roles=_STUDENT,
        licence="(no weights)",
        notes="A blank student with the pieces of mBERT, most of which one language never uses.",
    )


MODELS: dict[str, ModelEntry] = {
    entry.name: entry
    for entry in (
        ModelEntry(
            name="beto-uncased",
            title="BETO uncased",
            hub="dccuchile/bert-base-spanish-wwm-uncased",
            config=_bert(31_002),
            casing="uncased",
            roles=_TEACHER,
        ),
        ModelEntry(
            name="beto-cased",
            title="BETO cased",
            hub="dccuchile/bert-base-spanish-wwm-cased",
            config=_bert(31_002),
            casing="cased",
            roles=_TEACHER,
        ),
        ModelEntry(
            name="distilbeto",
            title="DistilBETO",
            hub="dccuchile/distilbert-base-spanish-uncased",
            config=_DISTILBERT,
            casing="uncased",
            roles=_BOTH,
        ),
        _albeto("tiny", _BOTH, _albert(layers=4, width=312)),
        _albeto("base", _TEACHER, _albert()),
        _albeto("large", _TEACHER, _albert(layers=24, width=1024, heads=16), _BIG),
        _albeto("xlarge", _TEACHER, _albert(layers=24, width=2048, heads=16), _BIG),
        _albeto("xxlarge", _TEACHER, _albert(layers=12, width=4096, heads=64), _BIG),
        ModelEntry(
            name="bertin",
            title="BERTIN",
            hub="bertin-project/bertin-roberta-base-spanish",
            config=_roberta(50_265),
            casing="cased",
            roles=_TEACHER,
            licence="CC-BY-4.0",
        ),
        ModelEntry(
            name="roberta-bne-base",
            title="RoBERTa BNE base",
            hub="PlanTL-GOB-ES/roberta-base-bne",
            config=_roberta(50_262),
            casing="cased",
            roles=_TEACHER,
        ),
        ModelEntry(
            name="roberta-bne-large",
            title="RoBERTa BNE large",
            hub="PlanTL-GOB-ES/roberta-large-bne",
            config=_roberta(50_262, layers=24, width=1024, heads=16),
            casing="cased",
            roles=_TEACHER,
        ),
        ModelEntry(
            name="mbert",
            title="mBERT",
            hub="google-bert/bert-base-multilingual-cased",
            config=_bert(119_547),
            casing="cased",
            roles=_TEACHER,
            licence="Apache-2.0",
            notes="104 languages, Spanish and Tagalog among them.",
        ),
        *(_albeto_turns(layers) for layers in (2, 4, 6, 8, 10)),
        _multilingual_student("base", _bert(119_547, layers=6)),
        _multilingual_student("tiny", _bert(119_547, layers=4, width=312, inner=1200)),
    )
}


def model_entry(name: str) -> ModelEntry:
    """Return the model of this name; its ``config`` is a copy.

    Raises:
        InputError: If there is none, with what was probably meant.
    """
    entry = MODELS.get(name)
    if entry is None:
        raise InputError(suggest(name, MODELS, kind="model of the catalogue"))
    return deepcopy(entry)


def list_models(role: Role | None = None) -> list[ModelEntry]:
    """List the models, or those of one role, in the order of the papers' tables."""
    return [deepcopy(one) for one in MODELS.values() if role is None or role in one.roles]


_PRETRAINED_AS = {
    "bert": "BertForMaskedLM",
    "distilbert": "DistilBertForMaskedLM",
    "albert": "AlbertForMaskedLM",
    "roberta": "RobertaForMaskedLM",
}


def hub_config(hub: str) -> dict[str, Any] | None:
    """Return what is known here of a hub model's configuration, without asking the hub."""
    for entry in MODELS.values():
        if entry.hub == hub and entry.layers is None:
            head = _PRETRAINED_AS[entry.model_type]
            return {**deepcopy(entry.config), "architectures": [head]}
    return None
