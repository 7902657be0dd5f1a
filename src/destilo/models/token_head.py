"""The head of a masked language model, run apart from its encoder and on chosen positions alone.

Logits over a vocabulary are by far the largest tensors of such a model: 32 texts of 512 pieces over
119,547 words are 7.8 GB in fp32. Only masked positions are supervised, so the encoder runs as usual
(through the model's own forward, so that whoever wraps it sees what it expects), the head on no
position at all, and what the head would have read is handed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from destilo.errors import ModelError

TokenHead = Callable[[Tensor], Tensor]
"""From hidden states [n, width] to logits [n, vocabulary]."""


def _distilbert(model: Any) -> TokenHead:
    return lambda hidden: model.vocab_projector(
        model.vocab_layer_norm(model.activation(model.vocab_transform(hidden)))
    )


def _electra(model: Any) -> TokenHead:
    return lambda hidden: model.generator_lm_head(model.generator_predictions(hidden))


def _modernbert(model: Any) -> TokenHead:
    return lambda hidden: model.decoder(model.head(hidden))


def _deberta(model: Any) -> TokenHead:
    if model.legacy:
        return lambda hidden: model.cls(hidden)
    words = model.deberta.embeddings.word_embeddings
    return lambda hidden: model.lm_predictions(hidden, words)


def _deberta_first(model: Any) -> nn.Module:
    first: nn.Module = model.cls if model.legacy else model.lm_predictions
    return first


_HEADS: dict[str, tuple[Callable[[Any], nn.Module], Callable[[Any], TokenHead]]] = {
    "bert": (lambda model: model.cls, lambda model: model.cls),
    "roformer": (lambda model: model.cls, lambda model: model.cls),
    "roberta": (lambda model: model.lm_head, lambda model: model.lm_head),
    "xlm-roberta": (lambda model: model.lm_head, lambda model: model.lm_head),
    "camembert": (lambda model: model.lm_head, lambda model: model.lm_head),
    "albert": (lambda model: model.predictions, lambda model: model.predictions),
    "distilbert": (lambda model: model.vocab_transform, _distilbert),
    "electra": (lambda model: model.generator_predictions, _electra),
    "modernbert": (lambda model: model.head, _modernbert),
    "deberta-v2": (_deberta_first, _deberta),
}
"""By architecture: the head's first module, and the whole of it."""


def token_head(model: nn.Module) -> TokenHead:
    """The head of a masked language model.

    Raises:
        ModelError: If its architecture is not known.
    """
    return _of(model)[1](model)


def _of(model: nn.Module) -> tuple[Callable[[Any], nn.Module], Callable[[Any], TokenHead]]:
    config: Any = model.config
    kind = config.model_type
    if kind not in _HEADS:
        known = ", ".join(sorted(_HEADS))
        raise ModelError(f"The masked-LM head of '{kind}' is not known. Known: {known}.")
    return _HEADS[kind]


def masked_states(
    model: nn.Module, inputs: Mapping[str, Tensor], positions: Tensor, *, plain: nn.Module
) -> Tensor:
    """Run a masked language model and return what its head would read at some positions.

    Args:
        model: What is called: the model, or a wrapper of it.
        inputs: Padded model inputs, each [batch, length].
        positions: [n], into the flattened [batch x length].
        plain: The model itself.

    Returns:
        [n, width].
    """
    with _head_on_nothing(plain) as read:
        model(**inputs)
    hidden = read[0]
    return hidden.reshape(-1, hidden.shape[-1])[positions]


@contextmanager
def _head_on_nothing(model: nn.Module) -> Iterator[list[Tensor]]:
    """Keep what the head is given, and give it no position."""
    read: list[Tensor] = []

    def take(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        del module
        read.append(arguments[0])
        return (arguments[0][:, :0], *arguments[1:])

    handle = _of(model)[0](model).register_forward_pre_hook(take)
    try:
        yield read
    finally:
        handle.remove()
