"""Names of invented towns, people, rivers and firms, none of them shared between splits.

A name is put together from syllables and belongs to exactly one split, which is a function of
its spelling alone: whatever seed or size is asked for, a name of one split can never turn up
in another. The syllables themselves are shared, so that a sub-word vocabulary trained on one
split also covers the names of the others, and a model has to compare names rather than know
them.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable, Container
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Literal, TypeAlias

Gender: TypeAlias = Literal["m", "f"]

SPLIT_SHARES: dict[str, int] = {"train": 8, "validation": 2, "test": 4, "unlabelled": 6}
"""How many twentieths of all names each split owns."""


class Kind(StrEnum):
    """What an answer is; two values of one kind are candidates for the same question."""

    PERSON = "person"
    TOWN = "town"
    RIVER = "river"
    REGION = "region"
    FIRM = "firm"
    PRIZE = "prize"
    TITLE = "title"
    TIME = "time"
    DAY = "day"
    NUMBER = "number"
    GOODS = "goods"


@dataclass(frozen=True, slots=True)
class Name:
    """A name with what agreement needs to know about it.

    Attributes:
        text: As it stands in the text.
        key: The part that belongs to one split (a person's surname; else the whole name).
        gender: Grammatical gender.
    """

    text: str
    key: str
    gender: Gender = "m"


def words(text: str, separator: str | None = None) -> tuple[str, ...]:
    """Split a list that is written as running text."""
    return tuple(text.split(separator))


FIRST_SYLLABLES = words(
    "al ar ba bar be bel bo bor bra bre bu cal car cas co cor cre dal dar du el er es fa fer fol "
    "fre gal gar go gor gra he hor lam lar li lo lu mal mar me mol mon mor na ner no or pal pe per "
    "pla po pra pre qui re ri ro sal san se sol sor ta tar ter tor tra tre ur va vel ver vi vol"
)
MIDDLE_SYLLABLES = words(
    "ba be bi bo ca co da de di do fa fo ga go la le li lo ma me mi mo na ne ni no pa pe po "
    "ra re ri ro sa se si ta te ti to va ve vi"
)
TOWN_ENDINGS = words(
    "breda cedo cilla dales dega duela gosa jares lanca lera longa mera neda quera rasa rellas "
    "sella tejo tosa viela zal zuelo"
)
RIVER_ENDINGS = words("bra dama dor jón lla ma mo nar ra sia tal va zo")
REGION_ENDINGS = words("bería cania gonia lesia mancia rania tavia verna")
SURNAME_ENDINGS = words(
    "bano barte bedo cano ceda cuña dano deras dillo dosa duro ganza guera lanza larde ledo "
    "lobo manes marte menza mora nales naya nero quina rano redo saga sende tado tana tero tino "
    "vano vares vera zaga zona"
)
FIRM_ENDINGS = words("col dur fil gás lux mat nor plast ral sol tec tex tal vit")

MEN = words(
    "Álvaro Andrés Bruno César Damián Diego Emilio Fermín Gabriel Gonzalo Héctor Ignacio Jaime "
    "Joaquín Julián Leandro Lorenzo Manuel Marcos Martín Nicolás Óscar Pablo Ramón Sergio Tomás"
)
WOMEN = words(
    "Adela Alicia Aurora Beatriz Carmen Clara Cristina Dolores Elena Elvira Eva Gloria Inés "
    "Irene Julia Laura Leonor Lucía Marina Marta Nuria Olga Pilar Rosa Sofía Teresa"
)

TITLE_HEADS = words(
    "El jardín|El puente|El espejo|El faro|El reloj|El camino|El sueño|El invierno|El huerto|"
    "El cuaderno|El viaje|El silencio|La casa|La sombra|La lámpara|La torre|La ventana|La carta|"
    "La isla|La noche|La orilla|La llave|La escalera|La canción",
    "|",
)
TITLE_TAILS = words(
    "de sal|de niebla|de cristal|de arena|de ceniza|de barro|de plata|de papel|de invierno|"
    "de los pájaros|de los ciegos|de los relojes|de las mareas|de las abejas|de las cerezas|"
    "del norte|del alba|del molino|del viento|del bosque|sin nombre|sin puertas|sin orillas|"
    "sin regreso",
    "|",
)

_FORBIDDEN = re.compile(
    r"nb|np|m[^aeiouáéíóúpbn]|lr|nr|sr|sv|(.)\1(?<!ll)(?<!rr)|lll|rrr"  # not Spanish spelling
    r"|caca|cag|cono|cul|mam|meo|moco|ped[aio]|pene|teta|puta"  # not nice
)


def split_of(key: str) -> str:
    """Tell which split owns a name, from its spelling alone."""
    bucket = zlib.crc32(key.lower().encode("utf-8")) % sum(SPLIT_SHARES.values())
    for split, share in SPLIT_SHARES.items():
        if bucket < share:
            return split
        bucket -= share
    raise AssertionError("the shares cover every bucket")


def draw_name(kind: Kind, split: str, rng: random.Random, *, taken: Container[str] = ()) -> Name:
    """Draw a name of a kind that ``split`` owns and ``taken`` (keys) does not hold.

    Args:
        kind: A kind that has names.
        split: The split to draw for.
        rng: Where chance comes from.
        taken: Keys that are in use already.
    """
    make = _MAKERS[kind]
    while True:
        name = make(rng)
        if name.key not in taken and split_of(name.key) == split:
            return name


def _coin(rng: random.Random, endings: tuple[str, ...], *, middle: bool = True) -> str:
    while True:
        parts = [rng.choice(FIRST_SYLLABLES), rng.choice(endings)]
        if middle:
            parts.insert(1, rng.choice(MIDDLE_SYLLABLES))
        word = "".join(parts)
        joints_ok = all(a[-1] != b[0] for a, b in pairwise(parts))
        if joints_ok and not _FORBIDDEN.search(word):
            return word.capitalize()


def _plain(endings: tuple[str, ...]) -> Callable[[random.Random], Name]:
    def make(rng: random.Random) -> Name:
        word = _coin(rng, endings)
        return Name(word, word)

    return make


def _person(rng: random.Random) -> Name:
    gender: Gender = "f" if rng.random() < 0.5 else "m"
    surname = _coin(rng, SURNAME_ENDINGS, middle=False)
    return Name(f"{rng.choice(WOMEN if gender == 'f' else MEN)} {surname}", surname, gender)


def _prize(rng: random.Random) -> Name:
    surname = _coin(rng, SURNAME_ENDINGS, middle=False)
    return Name(surname, surname)


def _title(rng: random.Random) -> Name:
    head, tail = rng.choice(TITLE_HEADS), rng.choice(TITLE_TAILS)
    while head.split()[-1] in tail:
        tail = rng.choice(TITLE_TAILS)
    return Name(f"{head} {tail}", f"{head} {tail}")


_MAKERS: dict[Kind, Callable[[random.Random], Name]] = {
    Kind.PERSON: _person,
    Kind.TOWN: _plain(TOWN_ENDINGS),
    Kind.RIVER: _plain(RIVER_ENDINGS),
    Kind.REGION: _plain(REGION_ENDINGS),
    Kind.FIRM: _plain(FIRM_ENDINGS),
    Kind.PRIZE: _prize,
    Kind.TITLE: _title,
}
