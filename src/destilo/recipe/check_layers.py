"""Check what compares layers: that the layers exist, and that widths and heads go together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from destilo.errors import ModelError
from destilo.recipe.findings import Findings
from destilo.recipe.layer_pairs import layer_pairs, origin_of_layers
from destilo.recipe.model_facts import ModelFacts, first_of
from destilo.recipe.places import Key
from destilo.recipe.schema import Recipe, TermSpec


@dataclass(frozen=True, slots=True)
class _Sizes:
    """What is known of a model's shape before it is loaded."""

    name: str
    model_type: str
    layers: int
    width: int | None
    heads: int | None
    local: frozenset[int]


def check_layer_terms(
    recipe: Recipe, teachers: list[ModelFacts], student: ModelFacts, findings: Findings
) -> None:
    """Check every term on layers against the models whose configuration is here."""
    mine = _student_sizes(recipe, student)
    for key, term in _layer_terms(recipe):
        for number, facts in enumerate(teachers):
            if recipe.teachers[number].weight == 0:
                continue
            name = "the teacher" if len(teachers) == 1 else f"teacher {number + 1}"
            theirs = _sizes(name, facts, facts.layers)
            if recipe.teachers[number].cache != "off":
                findings.error(
                    (*key, "term"),
                    f"`{term.term}` needs the layers of {name}, and a cache holds its logits.",
                    "Write `cache: off` for that teacher, or leave the term out.",
                )
            if mine is None or theirs is None:
                continue
            if recipe.student.from_ == "layers" and mine.layers > theirs.layers:
                continue  # more layers than there are, which is found elsewhere
            _check_pairs(recipe, key, term, mine, theirs, number, findings)
            _check_shapes(key, term, mine, theirs, findings)
        _check_row_terms(recipe, key, term, findings)


def _layer_terms(recipe: Recipe) -> Iterator[tuple[Key, TermSpec]]:
    for stage_number, stage in enumerate(recipe.lessons):
        start: Key = () if recipe.stages is None else ("stages", stage_number)
        for number, term in enumerate(stage.objective):
            if term.on_layers and term.weight > 0:
                yield (*start, "objective", number), term


def _sizes(name: str, facts: ModelFacts, layers: int | None) -> _Sizes | None:
    if facts.config is None or facts.model_type is None or layers is None:
        return None
    kinds = facts.config.get("layer_types") or ()
    numbers = enumerate(kinds, start=1)
    return _Sizes(
        name,
        str(facts.config.get("model_type")),
        layers,
        first_of(facts.config, facts.model_type.width),
        first_of(facts.config, facts.model_type.heads),
        frozenset(number for number, kind in numbers if kind == "sliding_attention"),
    )


def _student_sizes(recipe: Recipe, facts: ModelFacts) -> _Sizes | None:
    spec = recipe.student
    layers = len(spec.layers) if isinstance(spec.layers, tuple) else spec.layers
    return _sizes("the student", facts, layers or facts.layers)


def _check_pairs(
    recipe: Recipe,
    key: Key,
    term: TermSpec,
    mine: _Sizes,
    theirs: _Sizes,
    number: int,
    findings: Findings,
) -> None:
    origin = origin_of_layers(recipe, number)
    try:
        pairs = layer_pairs(term, student=mine.layers, teacher=theirs.layers, origin=origin)
    except ModelError as error:
        findings.error(
            (*key, "layer_map"),
            str(error),
            f"The student has {mine.layers} layers, {theirs.name} has {theirs.layers}.",
        )
        return
    if not pairs:
        return
    top = max(teacher for _, teacher in pairs)
    if top < theirs.layers:
        above = f"{top + 1} to {theirs.layers}" if top + 1 < theirs.layers else str(theirs.layers)
        findings.warn(
            (*key, "layer_map"),
            f"layers {above} of {theirs.name} are above the map: nothing follows them.",
            "Write `layer_map: uniform` to end at its last layer, if that is not meant.",
        )
    local = sorted({teacher for _, teacher in pairs} & theirs.local)
    if local and term.term == "attention-mse":
        findings.error(
            (*key, "layer_map"),
            f"layer {local[0]} of {theirs.name} looks at its neighbours only: it has no attention "
            "scores over the whole text.",
            "Pair layers that see all of it, or use attention-relations.",
        )


def _check_shapes(
    key: Key, term: TermSpec, mine: _Sizes, theirs: _Sizes, findings: Findings
) -> None:
    if term.term == "attention-mse":
        for side in (mine, theirs):
            if side.model_type == "deberta-v2":
                findings.error(
                    (*key, "term"),
                    f"the attention scores of {side.name} (deberta-v2) are more than query times "
                    "key and cannot be compared.",
                    "Use attention-relations or hidden-mse.",
                )
                return
    if None in (mine.width, theirs.width, mine.heads, theirs.heads):
        return
    if term.term == "attention-mse" and mine.heads != theirs.heads and not term.average_heads:
        findings.error(
            (*key, "term"),
            f"the student has {mine.heads} attention heads, {theirs.name} {theirs.heads}.",
            "Add `average_heads: true`, use attention-relations, or give the student as many.",
        )
    if term.projection == "none" and mine.width != theirs.width:
        findings.error(
            (*key, "projection"),
            f"the student is {mine.width} wide, {theirs.name} {theirs.width}.",
            "Write `each` or `shared`.",
        )
    heads = term.relation_heads
    if heads and math.gcd(int(mine.width or 0), int(theirs.width or 0)) % heads:
        findings.error(
            (*key, "relation_heads"),
            f"{heads} does not divide the widths {mine.width} and {theirs.width}.",
            f"Take a divisor of {math.gcd(int(mine.width or 0), int(theirs.width or 0))}.",
        )


def _check_row_terms(recipe: Recipe, key: Key, term: TermSpec, findings: Findings) -> None:
    """Across tokenizers a row that is classified as a whole has one unit: its first position."""
    by_word = recipe.alignment == "word" or recipe.student.tokenizer != "teacher"
    whole = recipe.task == "text-classification" and recipe.student.from_ != "checkpoint"
    if whole and by_word and term.term in ("attention-mse", "attention-relations"):
        findings.error(
            (*key, "term"),
            "with another tokenizer a classified text is one unit (its first position), among "
            "which there is no attention.",
            "Use hidden-mse or hidden-cosine, or the teacher's tokenizer.",
        )
