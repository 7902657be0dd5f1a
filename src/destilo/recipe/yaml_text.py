"""YAML as recipes use it: strict, safe, and with the line of every key.

The scalars are those of YAML 1.2 (``3e-5`` is a number; ``no``, ``on`` and ``2024-01-01`` are
text), a key stands once, and nothing is ever constructed but plain values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from destilo.errors import RecipeError
from destilo.recipe.places import Key

_TAG = "tag:yaml.org,2002:"
_MAX_VALUES = 100_000

_SCALARS = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
)


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with the scalars of YAML 1.2."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  (PyYAML's own way of declaring them)


class _Dumper(yaml.SafeDumper):
    """Quotes whatever either version of YAML would read as something other than text."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (as above)
        first: list(resolvers)
        for first, resolvers in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  (the signature of PyYAML)
        return True


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML folds these rare line breaks to blanks unless they stand between double quotes.
    style = '"' if any(mark in text for mark in "\x85\u2028\u2029\ufeff") else None
    return dumper.represent_scalar(_TAG + "str", text, style=style)


_Dumper.add_representer(str, _write_text)

for _name, _pattern, _first in _SCALARS:
    for _yaml in (_Loader, _Dumper):
        _yaml.add_implicit_resolver(
            _TAG + _name,
            re.compile(rf"(?:{_pattern})\Z"),
            ["" if letter == "\0" else letter for letter in _first],
        )


@dataclass(frozen=True, slots=True)
class Document:
    """The value of a YAML text, and the line (from 1) of every key and list entry in it."""

    value: Any
    lines: Mapping[Key, int] = field(default_factory=dict)


def read_yaml(text: str, *, name: str) -> Document:
    """Read one YAML document.

    Args:
        text: The document.
        name: Its file, for messages.

    Raises:
        RecipeError: With ``name:line`` where the text is not strict, safe YAML.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise RecipeError(_syntax_error(error, name)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RecipeError(
            f"{name}:{line}: character U+{error.character:04X} may not stand in YAML. Remove it."
        ) from None
    except RecursionError:
        raise RecipeError(f"{name}: nested too deeply to be a recipe.") from None
    if root is None:
        return Document(None)
    return _Reader(name).read(root)


def write_yaml(value: Any) -> str:
    """Write plain values so that ``read_yaml`` gives them back."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _syntax_error(error: yaml.MarkedYAMLError, name: str) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{name}:{mark.line + 1}" if mark else name
    problem = error.problem or error.context or "cannot be read"
    advice = "Check the indentation, colons and quotes there."
    if "'\\t'" in problem:
        problem, advice = "a tab where YAML wants spaces", "Indent with spaces."
    elif "another document" in f"{error.context} {problem}":
        problem, advice = "a second document", "A recipe is one document: remove `---`."
    elif mark is None:
        advice = "Check the file."
    elif error.context and error.context_mark and error.context_mark.line != mark.line:
        problem = f"{error.context} begun on line {error.context_mark.line + 1}, {problem}"
    return f"{where}: not valid YAML: {problem}. {advice}"


class _Reader:
    """Turns PyYAML's nodes into plain values, noting lines."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: dict[Key, int] = {}
        self._open: set[int] = set()
        self._count = 0

    def read(self, root: yaml.Node) -> Document:
        value = self._value(root, ())
        return Document(value, self._lines)

    def _fail(self, node: yaml.Node, message: str) -> RecipeError:
        return RecipeError(f"{self._name}:{node.start_mark.line + 1}: {message}")

    def _value(self, node: yaml.Node, key: Key) -> Any:
        self._lines.setdefault(key, node.start_mark.line + 1)
        self._count += 1
        if self._count > _MAX_VALUES:
            raise self._fail(node, f"more than {_MAX_VALUES} values. Use fewer aliases.")
        if id(node) in self._open:
            raise self._fail(node, "an alias that contains itself. Write the value out.")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
                return self._mapping(node, key)
            if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
                return [self._value(item, (*key, n)) for n, item in enumerate(node.value)]
        finally:
            self._open.discard(id(node))
        raise self._unknown_tag(node)

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._fail(key_node, "a key that is not a word. Keys are plain words.")
            name = str(key_node.value)  # always text: `on:` and `1:` too
            line = key_node.start_mark.line + 1
            if name == "<<":
                raise self._fail(
                    key_node, "merge keys (`<<`) are not supported. Use `extends: FILE`."
                )
            if name in mapping:
                raise self._fail(
                    key_node,
                    f"key '{name}' stands twice, first on line {first[name]}. Remove one.",
                )
            first[name] = line
            self._lines.setdefault((*key, name), line)
            mapping[name] = self._value(value_node, (*key, name))
        return mapping

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text = str(node.value)
        kind = node.tag.removeprefix(_TAG)
        try:
            match kind:
                case "str":
                    return text
                case "null":
                    return None
                case "bool":
                    return {"true": True, "false": False}[text.lower()]
                case "int":
                    prefix = text[:2].lower()
                    return int(text, {"0x": 16, "0o": 8}.get(prefix, 10))
                case "float":
                    return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
        except (ValueError, KeyError):
            raise self._fail(node, f"'{text[:40]}' is not of type {kind}.") from None
        raise self._unknown_tag(node)

    def _unknown_tag(self, node: yaml.Node) -> RecipeError:
        return self._fail(
            node, f"the tag '{node.tag}' is not allowed. A recipe holds plain values only."
        )
