"""The entries of the catalogue agree with themselves and with the published tables."""

from __future__ import annotations

import pytest

from destilo.catalogue.models import MODELS, list_models, model_entry
from destilo.catalogue.sizes import count_from_config
from destilo.errors import InputError


def test_names_and_titles_are_unique_and_every_model_has_a_role() -> None:
    assert all(name == entry.name for name, entry in MODELS.items())
    assert len({entry.title for entry in MODELS.values()}) == len(MODELS)
    assert all(entry.roles for entry in MODELS.values())


def test_the_candidate_teachers_and_students_of_the_papers() -> None:
    assert {entry.name for entry in list_models("teacher")} == {
        *("beto-uncased", "beto-cased", "distilbeto", "bertin", "mbert"),
        *(f"albeto-{size}" for size in ("tiny", "base", "large", "xlarge", "xxlarge")),
        *("roberta-bne-base", "roberta-bne-large"),
    }
    assert {entry.name for entry in list_models("student")} == {
        *("albeto-tiny", "distilbeto", "dbert-base", "dbert-tiny"),
        *(f"albeto-base-{layers}" for layers in (2, 4, 6, 8, 10)),
    }


def test_fewer_turns_of_albeto_base_have_its_weights() -> None:
    base = model_entry("albeto-base")
    for layers in (2, 4, 6, 8, 10):
        entry = model_entry(f"albeto-base-{layers}")
        assert (entry.hub, entry.layers) == (base.hub, layers)
        assert entry.config == base.config | {"num_hidden_layers": layers}


# Millions of parameters as published, to the nearest million.
@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("beto-cased", 110),
        ("distilbeto", 67),
        ("albeto-tiny", 5),
        ("albeto-base", 12),
        ("albeto-large", 18),
        ("albeto-xlarge", 59),
        ("albeto-xxlarge", 223),
        ("bertin", 125),
        ("roberta-bne-large", 355),
        ("albeto-base-8", 12),
    ],
)
def test_parameters_are_as_published(name: str, millions: int) -> None:
    sizes = count_from_config(model_entry(name).config)
    assert sizes is not None
    assert abs(sizes.parameters / 1e6 - millions) < 1


def test_an_unknown_name_gets_suggestions() -> None:
    with pytest.raises(InputError, match="Did you mean 'beto-cased'"):
        model_entry("beto-case")


def test_changing_an_entry_does_not_change_the_catalogue() -> None:
    model_entry("mbert").config["vocab_size"] = 1
    assert model_entry("mbert").config["vocab_size"] == 119_547
