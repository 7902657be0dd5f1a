"""Check what compares layers: that the layers exist, and that widths and heads go together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from destilo.errors import ModelError
from destilo.layer_map import choose_layers, layers_above
from destilo.layer_reading import attention_kinds, why_not_read
from destilo.recipe.findings import Findings
from destilo.recipe.layer_pairs import layer_pairs, origin_of_layers
from destilo.recipe.model_facts import ModelFacts, first_of
from destilo.recipe.places import Key
from destilo.recipe.schema import Recipe, TermSpec


@dataclass(frozen=True, slots=True)
class _Sizes:
    """What is known of a model's shape before it is loaded."""

    name: str
    config: Mapping[str, Any]
    layers: int
    width: int | None
    heads: int | None


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
    return _Sizes(
        name,
        facts.config,
        layers,
        first_of(facts.config, facts.model_type.width),
        first_of(facts.config, facts.model_type.heads),
    )


def _student_sizes(recipe: Recipe, facts: ModelFacts) -> _Sizes | None:
    spec = recipe.student
    layers = len(spec.layers) if isinstance(spec.layers, tuple) else spec.layers
    made = _sizes("the student", facts, layers or facts.layers)
    if made is None or spec.from_ != "layers" or facts.layers is None:
        return made
    try:
        taken = (
            spec.layers
            if isinstance(spec.layers, tuple)
            else choose_layers(facts.layers, wanted=made.layers, layer_map=spec.layer_map)
        )
    except ModelError:
        return made  # found elsewhere
    kinds = attention_kinds(made.config, facts.layers)
    kept = [kind for number in taken for kind in kinds[number - 1 : number]]
    return replace(made, config={**made.config, "layer_types": kept})


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
            f"Layers of the student: {mine.layers}; of {theirs.name}: {theirs.layers}.",
        )
        return
    for side, numbers in ((mine, {pair[0] for pair in pairs}), (theirs, {p[1] for p in pairs})):
        wanted = numbers if term.term == "attention-mse" else ()
        refusal = why_not_read(side.config, layers=side.layers, scores=wanted, name=side.name)
        if refusal is not None:
            findings.error((*key, "term"), refusal.reason, refusal.remedy)
            return
    if not pairs:
        return
    above = layers_above(max(teacher for _, teacher in pairs), theirs.layers)
    if above is not None:
        findings.warn(
            (*key, "layer_map"),
            f"nothing follows {above} of {theirs.name}, above the map.",
            "Write `layer_map: uniform` to end at its last layer, if that is not meant.",
        )


def _check_shapes(
    key: Key, term: TermSpec, mine: _Sizes, theirs: _Sizes, findings: Findings
) -> None:
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
