from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from destilo.errors import RecipeError
from destilo.recipe.yaml_text import read_yaml, write_yaml


def read(text: str) -> Any:
    return read_yaml(text, name="r.yaml").value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-5", 3e-5),
        ("5.0E+3", 5000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("010", 10),
        ("0x1F", 31),
        ("true", True),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("~", None),
        ("", None),
        ("'3'", "3"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = read(f"key: {text}")["key"]
    assert found == value
    assert type(found) is type(value)


def test_keys_are_always_text() -> None:
    assert read("{on: 1, 1: 2, null: 3}") == {"on": 1, "1": 2, "null": 3}


def test_every_key_and_entry_has_its_line() -> None:
    document = read_yaml("a:\n  b: 1\nc:\n  - 2\n  - d: 3\n", name="r.yaml")
    assert document.lines[("a", "b")] == 2
    assert document.lines[("c", 1)] == 5
    assert document.lines[("c", 1, "d")] == 5


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("a: 1\nb: 2\na: 3", 3, "first on line 1"),
        ("a:\n\tb: 1", 2, "spaces"),
        ("a: [1\nb: 2", 2, "not valid YAML"),
        ("a: 1\n---\nb: 2", 2, "one document"),
        ("a: !!python/name:os.system x", 1, "plain values only"),
        ("a: !mine x", 1, "plain values only"),
        ("a: &x [*x]", 1, "contains itself"),
        ("a: *x", 1, "alias"),
        ("a: 1\nb: \x01", 2, "U+0001"),
        ("? [1]\n: 2", 1, "key"),
        ("<<: {a: 1}", 1, "extends"),
    ],
)
def test_what_is_not_strict_yaml_is_refused_with_its_line(text: str, line: int, hint: str) -> None:
    with pytest.raises(RecipeError) as raised:
        read(text)
    assert str(raised.value).startswith(f"r.yaml:{line}: ")
    assert hint in str(raised.value)


def test_aliases_are_fine_but_not_by_the_billion() -> None:
    assert read("a: &x {b: 1}\nc: *x") == {"a": {"b": 1}, "c": {"b": 1}}
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(RecipeError, match="fewer aliases"):
        read("\n".join(lines))


def test_deep_nesting_is_refused_not_a_crash() -> None:
    with pytest.raises(RecipeError, match="too deeply"):
        read("[" * 5000)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**18), max_value=10**18)
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(["no", "on", "3e-5", "1:30", "0o7", "~", "", "2024-01-01", "<<", "=", "ñ\n"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text().filter(lambda key: key != "<<"), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(plain)
def test_what_is_written_reads_back(value: object) -> None:
    assert read(write_yaml(value)) == value
