"""Years, numbers, goods and trades of the synthetic encyclopaedia, in agreement with a subject."""

from __future__ import annotations

import random
from dataclasses import dataclass

from destilo.data.synthetic_names import Gender, Kind, draw_name, words
from destilo.data.synthetic_topics import Topic, Value

TOWN_GOODS: tuple[str, ...] = words(
    "queso de oveja|miel de romero|aceite de oliva|vino tinto|azafrán|turrón|chocolate|sidra|"
    "cerámica|jabón|almendras|cerezas|naranjas|castañas|guitarras|abanicos|encajes|alfombras|"
    "cuchillos|sombreros|cestas de mimbre|velas",
    "|",
)
FIRM_GOODS: tuple[str, ...] = words(
    "relojes|motores|bicicletas|tractores|muebles|lámparas|juguetes|zapatos|pinturas|cables|"
    "botellas|pianos|ascensores|neumáticos|papel|cemento|vidrio|tejas|tornillos|paraguas|"
    "maletas|hornos|bombas de agua|máquinas de coser",
    "|",
)
SINGULAR_GOODS = frozenset(
    words(
        "queso de oveja|miel de romero|aceite de oliva|vino tinto|azafrán|turrón|chocolate|"
        "sidra|cerámica|jabón|papel|cemento|vidrio",
        "|",
    )
)
COLLECTED_GOODS: tuple[str, ...] = words(
    "sellos|monedas|mariposas|conchas|minerales|mapas|abanicos|relojes|grabados|muñecas|"
    "campanas|llaves|fósiles|caracolas|máscaras|sombreros|postales|teteras|barajas|bastones",
    "|",
)
MONTHS = words(
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre"
)


FORMS: dict[Gender, int] = {"m": 0, "f": 1}
FIRST_YEARS = {Kind.TOWN: (1790, 1860), Kind.PERSON: (1790, 1930), Kind.FIRM: (1860, 1960)}
_LATER_YEARS = {"died": (36, 84), "railway": (58, 75), "exports": (2, 40)}
"""Years between a subject's beginning and what comes later."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Draws the values of one subject, so that they agree with it and with each other."""

    topic: Topic
    gender: Gender
    first_year: int
    split: str
    rng: random.Random

    def value(self, relation: str, kind: Kind, taken: set[str]) -> tuple[str, Value]:
        """Draw a value whose key nothing in the article has; return both."""
        while True:
            key, value = self._any(relation, kind, taken)
            if key not in taken:
                return key, value

    def _any(self, relation: str, kind: Kind, taken: set[str]) -> tuple[str, Value]:
        rng = self.rng
        if kind is Kind.TIME:
            return self._time(relation)
        if kind is Kind.DAY:
            text = self._day()
            return text, Value(text)
        if kind is Kind.NUMBER:
            text = self._number(relation)
            return text, Value(text)
        if kind is Kind.GOODS:
            text = rng.choice(self.topic.goods)
            return text, Value(text, int(text not in SINGULAR_GOODS))
        name = draw_name(kind, self.split, rng, taken=taken)
        while relation == "spouse" and name.gender == self.gender:
            name = draw_name(kind, self.split, rng, taken=taken)
        return name.key, Value(name.text, FORMS[name.gender])

    def _time(self, relation: str) -> tuple[str, Value]:
        year = self.first_year + self.rng.randint(*_LATER_YEARS.get(relation, (0, 9)))
        text = f"{self._day()} de {year}" if relation == "birthday" else str(year)
        return str(year), Value(text)

    def _day(self) -> str:
        return f"{self.rng.randint(2, 28)} de {self.rng.choice(MONTHS)}"

    def _number(self, relation: str) -> str:
        if relation == "staff":
            return str(self.rng.randint(4, 490) * 10)
        number = self.rng.randint(12, 299) * 100
        return f"{number:,}".replace(",", ".") if number >= 10_000 else str(number)
