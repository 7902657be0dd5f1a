"""What the synthetic encyclopaedia can say and ask of towns, people and firms.

See ``synthetic_topics`` for the slots. In every list the plain wording comes first and the
remote one last; the module is long because it is a table.
"""

from __future__ import annotations

from destilo.data.synthetic_names import Gender, Kind
from destilo.data.synthetic_topics import Relation, Sentence, Topic
from destilo.data.synthetic_values import COLLECTED_GOODS, FIRM_GOODS, TOWN_GOODS


def _said(subject: str, predicate: str) -> Sentence:
    """A sentence whose subject comes first and can be dropped."""
    return Sentence(f"{subject} {predicate}", predicate)


def _trades(*pairs: str) -> tuple[tuple[str, Gender], ...]:
    """The masculine and feminine form of every trade."""
    return tuple(noun for pair in pairs for noun in zip(pair.split(), _GENDERS, strict=True))


_GENDERS: tuple[Gender, Gender] = ("m", "f")

TOWN = Topic(
    subject=Kind.TOWN,
    nouns=(
        ("villa", "f"),
        ("ciudad", "f"),
        ("localidad", "f"),
        ("municipio", "m"),
        ("pueblo", "m"),
    ),
    link=" de ",
    goods=TOWN_GOODS,
    relations={
        "founded": Relation(
            Kind.TIME,
            (
                "¿En qué año se fundó {S}?",
                "¿Cuándo fue {S:fundado|fundada} {the}?",
                "¿De qué año data la fundación de {S}?",
                "¿Cuándo nació {the}?",
            ),
        ),
        "founder": Relation(
            Kind.PERSON,
            (
                "¿Quién fundó {S}?",
                "¿Quién fue {founder:el fundador|la fundadora} de {S}?",
                "¿A quién debe su origen {the}?",
                "¿De quién fue idea fundar {S}?",
            ),
        ),
        "river": Relation(
            Kind.RIVER,
            (
                "¿Qué río pasa por {S}?",
                "¿A orillas de qué río se levanta {S}?",
                "¿Qué río cruza {the}?",
                "¿Cómo se llama el río de {S}?",
            ),
        ),
        "region": Relation(
            Kind.REGION,
            (
                "¿A qué comarca pertenece {S}?",
                "¿En qué comarca está {the}?",
                "¿De qué comarca forma parte {S}?",
            ),
        ),
        "population": Relation(
            Kind.NUMBER,
            (
                "¿Cuántos habitantes tiene {S}?",
                "¿Cuál es la población de {S}?",
                "¿Cuántas personas viven en {S}?",
                "¿Cuánta gente vive en {the}?",
            ),
        ),
        "product": Relation(
            Kind.GOODS,
            (
                "¿Qué se produce en {S}?",
                "¿Por qué producto es {S:conocido|conocida} {the}?",
                "¿Qué producto da fama a {S}?",
            ),
        ),
        "festival": Relation(
            Kind.DAY,
            (
                "¿Qué día celebra {S} sus fiestas?",
                "¿Cuándo se celebran las fiestas de {S}?",
                "¿En qué fecha está de fiesta {the}?",
            ),
        ),
        "mayor": Relation(
            Kind.PERSON,
            (
                "¿Quién es {mayor:el alcalde|la alcaldesa} de {S}?",
                "¿Quién dirige el ayuntamiento de {S}?",
                "¿Quién gobierna {the}?",
            ),
        ),
        "architect": Relation(
            Kind.PERSON,
            (
                "¿Quién diseñó el puente de {S}?",
                "¿De quién es obra el puente de {S}?",
                "¿Quién trazó los planos del puente de {S}?",
            ),
        ),
        "railway": Relation(
            Kind.TIME,
            (
                "¿Cuándo llegó el ferrocarril a {S}?",
                "¿Cuándo se inauguró la estación de tren de {S}?",
                "¿Desde qué año tiene estación de tren {the}?",
            ),
        ),
    },
    sentences=(
        _said("{the}", "fue {S:fundado|fundada} en {founded}"),
        _said("{the}", "fue {S:fundado|fundada} en {founded} por {founder}"),
        _said("{S}", "se fundó en el año {founded}"),
        Sentence("la fundación de {S} data de {founded}", "su fundación data de {founded}"),
        Sentence("{founder} fundó {the} en {founded}"),
        Sentence("{founder} fundó {the}"),
        Sentence(
            "{founder:el fundador|la fundadora} de {S} fue {founder}",
            "{founder:su fundador|su fundadora} fue {founder}",
        ),
        _said("{the}", "debe su origen a {founder}"),
        Sentence("por {S} pasa el río {river}"),
        Sentence("el río {river} cruza {the}"),
        _said("{S}", "se levanta a orillas del río {river}"),
        _said("{S}", "pertenece a la comarca de {region}"),
        _said("{the}", "está en la comarca de {region}"),
        _said("{S}", "forma parte de la comarca de {region}"),
        _said("{the}", "está en la comarca de {region}, a orillas del río {river}"),
        _said("{S}", "tiene {population} habitantes"),
        Sentence("en {S} viven {population} personas"),
        Sentence(
            "la población de {S} es de {population} habitantes",
            "su población es de {population} habitantes",
        ),
        Sentence("en {S} se {product:produce|producen} {product}"),
        _said("{the}", "es {S:conocido|conocida} por {product:su|sus} {product}"),
        _said("{S}", "vive de la producción de {product}"),
        _said("{S}", "celebra sus fiestas el {festival}"),
        Sentence(
            "las fiestas de {S} se celebran el {festival}",
            "sus fiestas se celebran el {festival}",
        ),
        Sentence("cada {festival}, {the} está de fiesta"),
        Sentence(
            "{mayor:el alcalde|la alcaldesa} de {S} es {mayor}",
            "{mayor:su alcalde|su alcaldesa} es {mayor}",
        ),
        Sentence("{mayor} dirige el ayuntamiento de {S}"),
        Sentence("{mayor} gobierna {the}"),
        Sentence("{architect} diseñó el puente de {S}"),
        Sentence("el puente de {S} es obra de {architect}", "su puente es obra de {architect}"),
        Sentence("{architect} trazó los planos del puente de {S}"),
        Sentence("el ferrocarril llegó a {S} en {railway}"),
        Sentence(
            "la estación de tren de {S} se inauguró en {railway}",
            "su estación de tren se inauguró en {railway}",
        ),
        _said("{the}", "tiene estación de tren desde {railway}"),
    ),
)

PERSON = Topic(
    subject=Kind.PERSON,
    nouns=_trades(
        "arquitecto arquitecta",
        "botánico botánica",
        "cartógrafo cartógrafa",
        "cocinero cocinera",
        "escultor escultora",
        "fotógrafo fotógrafa",
        "ingeniero ingeniera",
        "librero librera",
        "médico médica",
        "periodista periodista",
        "pintor pintora",
        "relojero relojera",
    ),
    goods=COLLECTED_GOODS,
    exclusive=(frozenset({"born", "birthday"}),),
    relations={
        "born": Relation(
            Kind.TIME,
            (
                "¿En qué año nació {S}?",
                "¿Cuándo nació {S}?",
                "¿Cuál es el año de nacimiento de {S}?",
                "¿Cuándo vino al mundo {S}?",
            ),
        ),
        "birthday": Relation(
            Kind.TIME,
            (
                "¿Cuándo nació {S}?",
                "¿En qué fecha nació {S}?",
                "¿Cuál es la fecha de nacimiento de {S}?",
                "¿Qué día vino al mundo {S}?",
            ),
        ),
        "birthplace": Relation(
            Kind.TOWN,
            (
                "¿Dónde nació {S}?",
                "¿En qué localidad nació {S}?",
                "¿Cuál es el lugar de nacimiento de {S}?",
                "¿Dónde vino al mundo {S}?",
            ),
        ),
        "died": Relation(
            Kind.TIME,
            (
                "¿En qué año murió {S}?",
                "¿Cuándo murió {S}?",
                "¿Cuándo falleció {S}?",
                "¿Cuál es el año de la muerte de {S}?",
            ),
        ),
        "collection": Relation(
            Kind.GOODS,
            (
                "¿Qué coleccionaba {S}?",
                "¿De qué era la colección de {S}?",
                "¿Qué reunía {S} en su colección?",
            ),
        ),
        "studied": Relation(
            Kind.TOWN,
            (
                "¿Dónde estudió {S}?",
                "¿En qué ciudad estudió {S}?",
                "¿Dónde se formó {S}?",
                "¿En qué ciudad cursó sus estudios {S}?",
            ),
        ),
        "home": Relation(
            Kind.TOWN,
            (
                "¿Dónde vivió {S}?",
                "¿En qué lugar tuvo su casa {S}?",
                "¿Dónde pasó {S} la mayor parte de su vida?",
            ),
        ),
        "teacher": Relation(
            Kind.PERSON,
            (
                "¿Quién fue {teacher:el maestro|la maestra} de {S}?",
                "¿De quién fue {S:discípulo|discípula} {S}?",
                "¿Con quién aprendió el oficio {S}?",
                "¿Quién enseñó el oficio a {S}?",
            ),
        ),
        "spouse": Relation(
            Kind.PERSON,
            (
                "¿Con quién se casó {S}?",
                "¿Con quién contrajo matrimonio {S}?",
                "¿Con quién compartió su vida {S}?",
            ),
        ),
        "prize": Relation(
            Kind.PRIZE,
            (
                "¿Qué premio recibió {S}?",
                "¿Qué premio ganó {S}?",
                "¿Con qué premio se reconoció a {S}?",
            ),
        ),
        "novel": Relation(
            Kind.TITLE,
            (
                "¿Qué novela escribió {S}?",
                "¿Cómo se titula la novela de {S}?",
                "¿De qué novela es {S:autor|autora} {S}?",
            ),
        ),
    },
    sentences=(
        _said("{S}", "nació en {born}"),
        _said("{S}", "nació en el año {born}"),
        _said("{S}", "nació en {birthplace} en {born}"),
        _said("{S}", "vino al mundo en {born}"),
        _said("{S}", "nació el {birthday}"),
        _said("{S}", "nació en {birthplace} el {birthday}"),
        _said("{S}", "vino al mundo el {birthday}"),
        _said("{S}", "nació en {birthplace}"),
        _said("{S}", "vino al mundo en {birthplace}"),
        _said("{S}", "era natural de {birthplace}"),
        _said("{S}", "murió en {died}"),
        _said("{S}", "falleció en {died}"),
        _said("{S}", "murió en el año {died}"),
        _said("{S}", "coleccionaba {collection}"),
        Sentence("la colección de {S} era de {collection}", "su colección era de {collection}"),
        _said("{S}", "reunía {collection} en su colección"),
        _said("{S}", "estudió en {studied}"),
        _said("{S}", "estudió en {studied} con {teacher}"),
        _said("{S}", "se formó en {studied}"),
        _said("{S}", "cursó sus estudios en {studied}"),
        _said("{S}", "vivió muchos años en {home}"),
        _said("{S}", "tuvo su casa en {home}"),
        _said("{S}", "pasó la mayor parte de su vida en {home}"),
        Sentence("{teacher:el maestro|la maestra} de {S} fue {teacher}"),
        _said("{S}", "fue {S:discípulo|discípula} de {teacher}"),
        _said("{S}", "aprendió el oficio con {teacher}"),
        _said("{S}", "se casó con {spouse}"),
        _said("{S}", "contrajo matrimonio con {spouse}"),
        _said("{S}", "compartió su vida con {spouse}"),
        _said("{S}", "recibió el premio {prize}"),
        _said("{S}", "ganó el premio {prize}"),
        Sentence("el premio {prize} fue para {S}"),
        _said("{S}", "escribió la novela «{novel}»"),
        _said("{S}", "es {S:el autor|la autora} de la novela «{novel}»"),
        Sentence("la novela «{novel}» es obra de {S}"),
    ),
)

FIRM = Topic(
    subject=Kind.FIRM,
    nouns=(
        ("empresa", "f"),
        ("compañía", "f"),
        ("firma", "f"),
        ("sociedad", "f"),
        ("marca", "f"),
        ("grupo", "m"),
        ("consorcio", "m"),
    ),
    goods=FIRM_GOODS,
    relations={
        "founded": Relation(
            Kind.TIME,
            (
                "¿En qué año se fundó {the}?",
                "¿Cuándo fue {S:fundado|fundada} {the}?",
                "¿De qué año data la fundación de {S}?",
                "¿Cuándo nació {the}?",
            ),
        ),
        "founder": Relation(
            Kind.PERSON,
            (
                "¿Quién fundó {S}?",
                "¿Quién fue {founder:el fundador|la fundadora} de {S}?",
                "¿A quién debe su origen {the}?",
                "¿De quién fue idea fundar {S}?",
            ),
        ),
        "seat": Relation(
            Kind.TOWN,
            (
                "¿Dónde tiene su sede {S}?",
                "¿Dónde está la sede de {S}?",
                "¿En qué localidad tiene sus oficinas {the}?",
            ),
        ),
        "factory": Relation(
            Kind.TOWN,
            (
                "¿Dónde abrió {S} su primera fábrica?",
                "¿Dónde estuvo la primera fábrica de {S}?",
                "¿En qué localidad empezó a fabricar {the}?",
            ),
        ),
        "product": Relation(
            Kind.GOODS,
            (
                "¿Qué fabrica {S}?",
                "¿Qué productos vende {the}?",
                "¿A la fabricación de qué se dedica {S}?",
            ),
        ),
        "staff": Relation(
            Kind.NUMBER,
            (
                "¿Cuántos empleados tiene {S}?",
                "¿Cuántas personas trabajan en {S}?",
                "¿A cuántas personas da trabajo {the}?",
            ),
        ),
        "director": Relation(
            Kind.PERSON,
            (
                "¿Quién dirige {S}?",
                "¿Quién es {director:el director|la directora} de {S}?",
                "¿Quién está al frente de {the}?",
            ),
        ),
        "owner": Relation(
            Kind.PERSON,
            (
                "¿A quién pertenece {S}?",
                "¿Quién es {owner:el dueño|la dueña} de {S}?",
                "¿En manos de quién está {the}?",
            ),
        ),
        "exports": Relation(
            Kind.TIME,
            (
                "¿Desde qué año exporta {S}?",
                "¿Cuándo empezó a exportar {the}?",
                "¿Cuándo vendió {S} por primera vez en el extranjero?",
            ),
        ),
    },
    sentences=(
        _said("{the}", "fue {S:fundado|fundada} en {founded}"),
        _said("{the}", "fue {S:fundado|fundada} en {founded} por {founder}"),
        _said("{the}", "se fundó en el año {founded}"),
        Sentence("la fundación de {S} data de {founded}", "su fundación data de {founded}"),
        Sentence("{founder} fundó {the} en {founded}"),
        Sentence("{founder} fundó {S}"),
        Sentence(
            "{founder:el fundador|la fundadora} de {S} fue {founder}",
            "{founder:su fundador|su fundadora} fue {founder}",
        ),
        _said("{the}", "debe su origen a {founder}"),
        _said("{S}", "tiene su sede en {seat}"),
        Sentence("la sede de {S} está en {seat}", "su sede está en {seat}"),
        _said("{the}", "tiene sus oficinas en {seat}"),
        _said("{S}", "abrió su primera fábrica en {factory}"),
        Sentence(
            "la primera fábrica de {S} estuvo en {factory}",
            "su primera fábrica estuvo en {factory}",
        ),
        _said("{the}", "empezó a fabricar en {factory}"),
        _said("{S}", "fabrica {product}"),
        _said("{the}", "vende {product}"),
        _said("{S}", "se dedica a la fabricación de {product}"),
        _said("{S}", "tiene {staff} empleados"),
        Sentence("en {S} trabajan {staff} personas"),
        _said("{the}", "da trabajo a {staff} personas"),
        Sentence("{director} dirige {S}"),
        Sentence(
            "{director:el director|la directora} de {S} es {director}",
            "{director:su director|su directora} es {director}",
        ),
        Sentence("{director} está al frente de {the}"),
        _said("{S}", "pertenece a {owner}"),
        Sentence(
            "{owner:el dueño|la dueña} de {S} es {owner}",
            "{owner:su dueño|su dueña} es {owner}",
        ),
        _said("{the}", "está en manos de {owner}"),
        _said("{S}", "exporta desde {exports}"),
        _said("{the}", "empezó a exportar en {exports}"),
        _said("{S}", "vendió por primera vez en el extranjero en {exports}"),
    ),
)

TOPICS: tuple[Topic, ...] = (TOWN, PERSON, FIRM)
