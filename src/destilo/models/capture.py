"""Read hidden states, queries, keys and values out of a model while it runs.

Forward hooks on the layers and their projections do it, so the model keeps its own attention
implementation (under SDPA, ``output_attentions`` would silently give nothing). A model without a
``Capture`` has no hook and pays nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.modernbert.modeling_modernbert import apply_rotary_pos_emb
from transformers.models.roformer.modeling_roformer import RoFormerSelfAttention

from destilo.errors import ModelError
from destilo.layer_reading import why_not_read
from destilo.models.layers import Architecture, architecture_of, layer_count
from destilo.models.outputs import LayerStates, Wanted


@dataclass(slots=True)
class _Buffer:
    """What one forward pass has given so far."""

    hidden: dict[int, Tensor] = field(default_factory=dict)
    query: dict[int, Tensor] = field(default_factory=dict)
    key: dict[int, Tensor] = field(default_factory=dict)
    value: dict[int, Tensor] = field(default_factory=dict)
    positions: dict[int, Any] = field(default_factory=dict)


class Capture:
    """Hooks on one model that keep the wanted states of a forward pass made inside ``recording``.

    Args:
        model: A transformers model of a known architecture, with or without a head.
        wanted: What to keep.

    Raises:
        ModelError: If the architecture is unknown, has no such layer, or computes its attention
            in a way that ``wanted`` cannot describe.
    """

    def __init__(self, model: PreTrainedModel, wanted: Wanted) -> None:
        self._model, self._wanted = model, wanted
        self._architecture = architecture_of(model.config.model_type)
        check_wanted(model.config, wanted)
        self._heads = int(getattr(model.config, self._architecture.heads_key))
        self._buffer: _Buffer | None = None
        self._turn = 0
        self._handles: list[Any] = []
        if self._architecture.layers is None:
            self._hook_shared()
        else:
            for number, layer in enumerate(_layers(model, self._architecture), start=1):
                self._hook_layer(layer, number)

    @contextmanager
    def recording(self) -> Iterator[Callable[[], LayerStates]]:
        """Keep what the forward pass inside the block computes.

        Yields:
            A function that gives the states, once the model has run.
        """
        buffer = self._buffer = _Buffer()
        self._turn = 0
        try:
            yield lambda: self._states(buffer)
        finally:
            self._buffer = None

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _states(self, buffer: _Buffer) -> LayerStates:
        missing = self._wanted.hidden - buffer.hidden.keys()
        missing |= self._wanted.attention - buffer.query.keys()
        if missing:
            raise ModelError(
                f"{type(self._model).__name__} ran without its layers {sorted(missing)}: "
                "their states cannot be distilled."
            )
        return LayerStates(buffer.hidden, buffer.query, buffer.key, buffer.value)

    # -- where hooks go ------------------------------------------------------------------

    def _hook_layer(self, layer: torch.nn.Module, number: int) -> None:
        if number == 1 and 0 in self._wanted.hidden:
            self._handles.append(layer.register_forward_pre_hook(self._entry, with_kwargs=True))
        if number in self._wanted.hidden:
            last = self._behind_first() if number == 1 else None
            self._handles.append((last or layer).register_forward_hook(self._hidden(number)))
        if number in self._wanted.attention:
            self._hook_attention(layer, lambda: number)

    def _behind_first(self) -> torch.nn.Module | None:
        """What finishes the first layer's hidden states outside of it, where something does."""
        path = self._architecture.behind_first
        parent, _, name = (path or "").rpartition(".")
        found = getattr(self._model.base_model.get_submodule(parent), name, None) if path else None
        return found if isinstance(found, torch.nn.Module) else None

    def _hook_shared(self) -> None:
        """ALBERT: one module runs several times; a turn of it is a layer."""
        groups = self._model.base_model.get_submodule("encoder.albert_layer_groups")
        for group in groups.children():
            self._handles.append(
                group.register_forward_pre_hook(self._begin_turn, with_kwargs=True)
            )
            self._handles.append(group.register_forward_hook(self._end_turn))
            if self._wanted.attention:
                self._hook_attention(group.get_submodule("albert_layers.0"), lambda: self._turn)

    def _hook_attention(self, layer: torch.nn.Module, number: Callable[[], int]) -> None:
        layout = self._architecture.attention
        if layout.positions is not None:
            hook = self._positions(layout.positions, number)
            module = layer.get_submodule(layout.module)
            self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
        if layout.fused:
            module = layer.get_submodule(layout.query)
            self._handles.append(module.register_forward_hook(self._fused(number)))
            return
        for name in ("query", "key", "value"):
            if name == "value" and not self._wanted.relations:
                continue
            module = layer.get_submodule(getattr(layout, name))
            self._handles.append(module.register_forward_hook(self._projection(name, number)))

    # -- hooks ---------------------------------------------------------------------------

    def _entry(self, _module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        if self._buffer is not None:
            self._buffer.hidden[0] = args[0] if args else kwargs["hidden_states"]

    def _hidden(self, number: int) -> Callable[..., None]:
        def hook(_module: torch.nn.Module, _args: Any, output: Any) -> None:
            if self._buffer is not None:
                self._buffer.hidden[number] = output if isinstance(output, Tensor) else output[0]

        return hook

    def _begin_turn(self, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        if self._turn == 0 and 0 in self._wanted.hidden:
            self._entry(module, args, kwargs)
        self._turn += 1

    def _end_turn(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        if self._turn in self._wanted.hidden:
            self._hidden(self._turn)(module, args, output)

    def _positions(self, argument: str, number: Callable[[], int]) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
            if self._buffer is not None:
                given = inspect.signature(module.forward).bind(*args, **kwargs).arguments
                self._buffer.positions[number()] = given.get(argument)

        return hook

    def _projection(self, name: str, number: Callable[[], int]) -> Callable[..., None]:
        def hook(_module: torch.nn.Module, _args: Any, output: Tensor) -> None:
            wanted = self._wanted.relations if name == "value" else self._wanted.attention
            if self._buffer is None or number() not in wanted:
                return
            split = output.view(*output.shape[:2], self._heads, -1).transpose(1, 2)
            angles = self._buffer.positions.get(number())
            if angles is not None and name != "value":
                split = _rotate_pairs(split, angles)
            # DeBERTa uses the same projection once more, for its relative positions.
            getattr(self._buffer, name).setdefault(number(), split)

        return hook

    def _fused(self, number: Callable[[], int]) -> Callable[..., None]:
        def hook(_module: torch.nn.Module, _args: Any, output: Tensor) -> None:
            if self._buffer is None:
                return
            split = output.view(*output.shape[:2], 3, self._heads, -1)
            query, key, value = (part.transpose(1, 2) for part in split.unbind(-3))
            cos, sin = self._buffer.positions[number()]
            query, key = apply_rotary_pos_emb(query, key, cos, sin, unsqueeze_dim=1)
            self._buffer.query[number()], self._buffer.key[number()] = query, key
            if number() in self._wanted.relations:
                self._buffer.value[number()] = value

        return hook


def check_wanted(config: Any, wanted: Wanted) -> None:
    """Refuse what a model of this configuration cannot give.

    Raises:
        ModelError: Saying which layer or which kind of state.
    """
    available = layer_count(config)
    beyond = [number for number in wanted.hidden | wanted.attention if number > available]
    if beyond:
        raise ModelError(
            f"Layer {max(beyond)} is wanted of a {config.model_type} model of {available} layers."
        )
    refusal = why_not_read(
        config.to_dict(),
        layers=available,
        scores=wanted.scores,
        name=f"the {config.model_type} model",
    )
    if refusal is not None:
        sentence = str(refusal)
        raise ModelError(sentence[0].upper() + sentence[1:])


def _layers(model: PreTrainedModel, architecture: Architecture) -> torch.nn.ModuleList:
    layers = model.base_model.get_submodule(str(architecture.layers))
    assert isinstance(layers, torch.nn.ModuleList)
    return layers


def _rotate_pairs(states: Tensor, angles: Tensor) -> Tensor:
    """Rotate neighbouring pairs of a head's entries (RoFormer's rotary positions)."""
    rotated, _ = RoFormerSelfAttention.apply_rotary_position_embeddings(angles, states, states)
    result: Tensor = rotated
    return result
