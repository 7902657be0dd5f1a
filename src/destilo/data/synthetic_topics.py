"""How the synthetic encyclopaedia is worded: templates, and what agreement asks of them.

Templates hold slots. ``{the}`` is the subject with its common noun ("el pueblo de Bordilera", "la
pintora Inés Moldosa"; "el pueblo" once it is known), ``{S}`` the same or the bare name, any other
slot the value of that relation. "de el" and "a el" become "del" and "al".
``{slot:a|b}`` is no value but an inflection: by gender (masculine|feminine) of the subject
or of a person, by number (singular|plural) of goods. A sentence may state several relations
at once. Sentences start in lower case; whoever joins them capitalises. In every list
the plain wording comes first and the remote one last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter

from destilo.data.synthetic_names import Gender, Kind


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a relation, and the form (0 or 1) that words agreeing with it take."""

    text: str
    form: int = 0


@dataclass(frozen=True, slots=True)
class Relation:
    """One thing that can be known about a subject, and how to ask for it."""

    kind: Kind
    questions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sentence:
    """A way to state one or more relations.

    Attributes:
        full: With the subject named.
        short: Without it, for use right after a sentence about the same subject; empty
            where there is none.
    """

    full: str
    short: str = ""

    @property
    def relations(self) -> frozenset[str]:
        fields = {name for _, name, _, _ in Formatter().parse(self.full) if name}
        return frozenset(fields - {"S", "the"})

    @property
    def opens_with_subject(self) -> bool:
        return self.full.startswith(("{S}", "{the}"))


@dataclass(frozen=True, slots=True)
class Topic:
    """A kind of article.

    Attributes:
        subject: What its subjects are called by.
        nouns: Common nouns with gender for ``{the}``. A person's agrees with the person.
        link: What stands between noun and name in ``{the}``.
        exclusive: Pairs of relations that one subject never has both of.
        goods: What its subjects make.
    """

    subject: Kind
    relations: Mapping[str, Relation]
    sentences: tuple[Sentence, ...]
    nouns: tuple[tuple[str, Gender], ...]
    link: str = " "
    exclusive: tuple[frozenset[str], ...] = ()
    goods: tuple[str, ...] = ()


_CONTRACTED = re.compile(r"\b(?:de|a) $")


def render(template: str, slots: Mapping[str, Value]) -> tuple[str, dict[str, int]]:
    """Fill a template; return the text and where the value of each relation starts."""
    text = ""
    starts: dict[str, int] = {}
    for literal, slot, forms, _ in Formatter().parse(template):
        text += literal
        if slot and forms:
            text += forms.split("|")[slots[slot].form]
        elif slot:
            if slots[slot].text.startswith("el ") and _CONTRACTED.search(text):
                text = text[:-1] + "l " + slots[slot].text.removeprefix("el ")
                continue
            starts[slot] = len(text)
            text += slots[slot].text
    return text, {slot: start for slot, start in starts.items() if slot not in ("S", "the")}
