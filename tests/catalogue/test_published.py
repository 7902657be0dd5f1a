"""The paper's figures: complete, consistent, and what the catalogue computes agrees with them."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal

import pytest

from destilo.catalogue import published
from destilo.catalogue.models import MODELS, model_entry
from destilo.catalogue.sizes import Sizes, count_from_config

ROWS = [pytest.param(row, id=f"{row.stage}-{row.model}") for row in published.summary()]


def sizes(model: str) -> Sizes:
    found = count_from_config(model_entry(model).config, sequence_length=512, n_labels=3)
    assert found is not None
    return found


def test_every_table_is_whole() -> None:
    assert len(published.inference_rates()) == len(published.summary()) == 17
    assert len(published.quality()) == 17 * 11
    assert len(published.distilled()) == 6 * (3 + 2 + 6)
    assert len(published.cache_hours()) == 6
    names = {dataset.name for dataset in published.list_published_datasets()}
    assert set(published.selected_teachers()) == names
    assert {cell.dataset for cell in published.quality()} == names
    models = {row.model for row in published.summary()}
    assert models <= set(MODELS)
    assert {cell.model for cell in published.quality()} == models
    assert {cell.model for cell in published.distilled()} <= models


@pytest.mark.parametrize("row", ROWS)
def test_table_3_follows_from_table_2_and_the_configurations(row: published.Summary) -> None:
    found = sizes(row.model)
    reference = sizes(published.REFERENCE)
    assert round(found.parameters / 1e6) == row.parameters_millions
    speedup = published.published_speedup(reference.macs_of_modules, found.macs_of_modules)
    assert speedup == row.speedup
    main = {one.name: one.metric for one in published.list_published_datasets()}
    cells = [
        Decimal(str(cell.points))
        for cell in published.quality()
        if (cell.stage, cell.model) == (row.stage, row.model) and cell.metric == main[cell.dataset]
    ]
    assert len(cells) == 8
    mean = sum(cells, Decimal(0)) / 8
    assert float(mean.quantize(Decimal("0.01"), ROUND_DOWN)) == row.score


def test_the_papers_speedup_is_cut_twice() -> None:
    """The exact ratios of the same counts, cut once, are others for four models."""
    reference = sizes("beto-cased").macs_of_modules
    other = [
        row.model
        for row in published.summary()
        if 100 * reference // sizes(row.model).macs_of_modules / 100 != row.speedup
    ]
    assert sorted(set(other)) == ["albeto-base-2", "albeto-base-4", "albeto-tiny", "distilbeto"]


def test_tables_2_and_7_differ_in_one_cell() -> None:
    table_2: dict[tuple[str, str, str, str], float] = {
        (one.stage, one.model, one.dataset, one.metric): one.points for one in published.quality()
    }
    pairs = [
        (table_2.get((stage, one.model, one.dataset, one.metric)), points, one)
        for one in published.distilled()
        for stage, points in (("finetune", one.finetuned_points), ("distil", one.distilled_points))
    ]
    differing = [(a, b, one.model) for a, b, one in pairs if a is not None and a != b]
    assert differing == [(56.72, 54.95, "albeto-base-6")]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("PAWS-X", "paws-x"), ("pawsx", "paws-x"), ("ud-es-ancora", "pos"), ("conll2002-es", "ner")],
)
def test_a_data_set_is_known_by_any_of_its_names(name: str, meant: str) -> None:
    found = published.published_dataset(name)
    assert found is not None
    assert found.name == meant
    assert published.published_dataset("parmex") is None
