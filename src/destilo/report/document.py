"""Write ``report.md`` and its picture from Run files alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from destilo.figures import QualityPoint, plot_quality_speed, read_training_log
from destilo.records import EvalResult
from destilo.report.contents import RunContents, read_run
from destilo.report.markdown import (
    MISSING,
    amount,
    duration,
    interval,
    percent,
    points,
    table,
    three_digits,
    times,
)
from destilo.report.speed import shape, speed
from destilo.report.summary import SummaryRow, model_label, ratio, summarise
from destilo.runs import write_text

REPORT, PICTURE = "report.md", "quality_speed.png"


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """What was written.

    Attributes:
        report: The document.
        picture: Quality against time; ``None`` where no model has both a score and a profile.
    """

    report: Path
    picture: Path | None


def build_report(run: Path) -> ReportFiles:
    """Write a Run's report and picture; what has not been done is said in words.

    Args:
        run: The Run folder.

    Returns:
        Where the files are.

    Raises:
        InputError: If it is no folder, or one of its files is damaged.
    """
    contents = read_run(run)
    picture = _draw(contents, run / PICTURE)
    rows = summarise(contents)
    sections = [
        f"# {contents.name}",
        _verdict(contents, rows),
        "## Quality",
        *_quality(contents, rows),
        "## Size and speed",
        *speed(contents),
        f"![Quality against time]({PICTURE})" if picture else "",
        "## Fidelity to the teacher",
        _fidelity(rows),
        "## Data",
        *_data(contents),
        "## Before training",
        *_preflight(contents),
        "## Training",
        *_training(contents),
        "## How to read this",
        _EXPLANATION,
        "## How it was made",
        *_making(contents),
    ]
    write_text(run / REPORT, "\n\n".join(filter(None, sections)) + "\n")
    return ReportFiles(report=run / REPORT, picture=picture)


_EXPLANATION = """\
- Scores are in points (hundredths). The brackets are a 95% interval from resampling the rows: \
with other rows of the same kind, the score would mostly fall in it. It does not cover another \
training seed.
- *Validation* chose the weights of each model (and thresholds), so its scores flatter; a test \
split chose nothing.
- *Student without distillation* is the same student, trained for as many steps on the gold labels \
alone. What distillation is worth is the difference between the two, not the student's score. A \
gain below the half-width of the interval may be chance.
- *MACs* are multiply-accumulates of all matrix products for one row. Counters that see modules \
only leave out the products of attention (QK^T and AV); the second column does the same.
- *p50* and *p95* are over all timed passes, none dropped; the models took turns, so their ratios \
hold better than the times themselves.
- *Agreement* is how often student and teacher give the same answer for a word, a span's end or a \
text; *mean KL* is how far the student's probabilities are from the teacher's, 0 being equal."""


def _verdict(contents: RunContents, rows: list[SummaryRow]) -> str:
    student = next((row for row in rows if row.model == "student"), None)
    if student is None:
        return "The student has not been evaluated yet, so there is no verdict."
    first = (
        f"On **{student.split}** (n = {student.main.n:,}) the student reaches "
        f"**{student.main_metric} {interval(student.main)}**"
    )
    teacher = contents.evaluation_of("teacher", student.split)
    if teacher is not None:
        share = percent(student.share_of_teacher)
        first += f", {share} of the teacher's {points(teacher.main.value)}"
    sentences = [f"{first}."]
    if student.gain is not None:
        sentences.append(_gain_sentence(contents, student))
    small, large = contents.profile_of("student"), contents.profile_of("teacher")
    if small is not None and large is not None:
        sentences.append(
            f"It has {amount(small.parameters)} parameters to the teacher's "
            f"{amount(large.parameters)}, is {times(student.speedup_by_time)} as fast and takes "
            f"{percent(ratio(small.macs, large.macs))} of its multiply-accumulates."
        )
    return " ".join(sentences)


def _gain_sentence(contents: RunContents, row: SummaryRow) -> str:
    baseline = contents.evaluation_of("baseline", row.split)
    if baseline is None or row.gain is None:
        return ""
    half_width = max(row.main.half_width, baseline.main.half_width)
    verb, side = ("gains", "over") if row.gain >= 0 else ("loses", "against")
    how = "more than" if abs(row.gain) > half_width else "not more than"
    return (
        f"Distillation {verb} {points(abs(row.gain))} points {side} the same student without it, "
        f"{how} the interval's half-width ({points(half_width)})."
    )


def _quality(contents: RunContents, rows: list[SummaryRow]) -> list[str]:
    if not rows:
        return ["Not evaluated: there is no `evaluation.json` in this run."]
    parts = []
    for split in contents.splits:
        here = [row for row in rows if row.split == split]
        main = here[0].main_metric
        metrics = list(dict.fromkeys([main, *(name for row in here for name in row.scores)]))
        body = [
            [
                row.label,
                *(
                    interval(row.scores[name]) if name in row.scores else MISSING
                    for name in metrics
                ),
                f"{row.main.n:,}",
                percent(row.share_of_teacher) if not row.model.startswith("teacher") else MISSING,
            ]
            for row in here
        ]
        parts.append(f"### {split}")
        parts.append(table(["model", *metrics, "n", "share of teacher"], body))
        parts.append(" ".join(filter(None, (_gain_sentence(contents, row) for row in here))))
        parts.append(_absent(contents, {row.model for row in here}))
        parts.append(_settings(contents.models_on(split)))
    return parts


def _absent(contents: RunContents, present: set[str]) -> str:
    sentences = []
    if "teacher" not in present:
        sentences.append("No teacher to compare with: none was evaluated.")
    if "baseline" not in present:
        off = contents.setting("evaluation", "baseline") is False
        why = "the recipe sets `evaluation.baseline: false`" if off else "it was not trained"
        sentences.append(f"No student without distillation: {why}.")
    return " ".join(sentences)


def _settings(results: tuple[EvalResult, ...]) -> str:
    """Say how answers were decoded, where that was tuned or differs between models."""
    tuned = {
        result.model: result.settings["no_answer_threshold"]
        for result in results
        if isinstance(result.settings.get("no_answer_threshold"), int | float)
        and result.settings.get("no_answer")
    }
    if not tuned:
        return ""
    values = ", ".join(f"{model_label(name)} {value:.3g}" for name, value in tuned.items())
    return f"No-answer threshold, tuned on validation: {values}."


def _fidelity(rows: list[SummaryRow]) -> str:
    body = [
        [
            row.label,
            row.split,
            percent(row.fidelity.agreement),
            three_digits(row.fidelity.mean_kl_nats),
            f"{row.fidelity.n_units:,}",
        ]
        for row in rows
        if row.fidelity is not None
    ]
    if not body:
        return "Not measured: no model was compared with a teacher."
    return table(["model", "split", "agreement", "mean KL, nats", "units"], body)


def _data(contents: RunContents) -> list[str]:
    data = contents.data
    if not data:
        return ["Not recorded: there is no `data.json` in this run."]
    splits: Mapping[str, Any] = data.get("splits") or {}
    labels = [f"`{label}`" for label in data.get("labels") or ()]
    notes = [f"- {name}: {note}" for name, one in splits.items() for note in one.get("notes", ())]
    leaks = data.get("leaks") or ()
    body = [
        [
            f"{leak.get('second')} in {leak.get('first')}",
            str(leak.get("unit", MISSING)),
            str(leak.get("kind", MISSING)),
            f"{leak.get('count', 0):,}",
            percent(leak.get("share_of_second")),
        ]
        for leak in leaks
    ]
    header = ["rows also elsewhere", "the same", "compared", "rows", "of the split"]
    return [
        table(["split", "rows"], [[name, f"{one['rows']:,}"] for name, one in splits.items()]),
        f"Labels ({len(labels)}): {', '.join(labels)}" if labels else "",
        table(header, body) if body else _no_leaks(contents),
        "What the readers had to say:\n\n" + "\n".join(notes) if notes else "",
    ]


def _no_leaks(contents: RunContents) -> str:
    if contents.setting("data", "leak_check") == "off":
        return "Not checked for rows that stand in two splits: `data.leak_check` is off."
    return "No row of an evaluation split was found in another split."


def _preflight(contents: RunContents) -> list[str]:
    found = contents.preflight
    if not found:
        return ["Not recorded: no distillation was started in this run."]
    metric = found.get("metric", "score")
    scores = found.get("teacher_scores") or ()
    several = len(scores) > 1
    lines = [
        f"- Teacher{f' {number}' if several else ''} on validation: {metric} {points(score)}"
        for number, score in enumerate(scores, start=1)
    ]
    if found.get("chance") is not None:
        lines.append(f"- A trivial predictor there: {metric} {points(found['chance'])}")
    if found.get("start"):
        terms = ", ".join(f"{name} {value:.4f}" for name, value in found["start"].items())
        lines.append(f"- Loss at step 0, per unit: {terms}")
    lines += [f"- **Warning:** {warning}" for warning in found.get("warnings") or ()]
    return ["\n".join(lines)]


def _training(contents: RunContents) -> list[str]:
    if not contents.logs:
        return ["Not recorded: there is no training log of this recipe's models."]
    body, pictures = [], []
    for log in contents.logs:
        name, curves = log.parent.name, read_training_log(log)
        steps = max((step for step, _ in curves.loss), default=0)
        last = f"{curves.loss[-1][1]:.4f}" if curves.loss else MISSING
        best = f"{curves.best_step:,}" if curves.best_step else MISSING
        body.append([model_label(name), f"{steps:,}", best, last])
        if (log.parent / "curve.png").exists():
            pictures.append(f"![{model_label(name)}](training/{name}/curve.png)")
    return [table(["model", "steps", "best step", "last logged loss"], body), "\n\n".join(pictures)]


def _making(contents: RunContents) -> list[str]:
    manifest, recipe = contents.manifest, contents.recipe
    facts = {
        "recipe": f"`{manifest['recipe']}` (`recipe.yaml`)" if manifest.get("recipe") else None,
        "task": recipe.get("task") or manifest.get("task"),
        "seed": contents.setting("training", "seed"),
        "destilo": manifest.get("destilo"),
    }
    if contents.profiles:
        machine = contents.profiles[0].machine
        facts |= {
            "python": machine.python,
            "torch": machine.torch,
            "machine": f"{machine.processor}, {machine.cpu_count} CPUs, {machine.platform}",
            "device": machine.device,
        }
    listed = [f"- {key}: {value}" for key, value in facts.items() if value is not None]
    stages: Mapping[str, Any] = manifest.get("stages") or {}
    body = [
        [name, duration(float(stage.get("seconds", 0))), str(stage.get("finished_at", MISSING))]
        for name, stage in stages.items()
        if name != "report" and contents.holds(name)
    ]
    return [
        "\n".join(listed) or "Not recorded: there is neither manifest nor recipe in this run.",
        table(["stage", "took", "finished"], body) if body else "",
    ]


def _draw(contents: RunContents, target: Path) -> Path | None:
    if not contents.splits or not contents.profiles:
        target.unlink(missing_ok=True)  # never an old picture beside a new text
        return None
    split = contents.splits[0]
    chosen = []
    for result in contents.models_on(split):
        profile = contents.profile_of(result.model)
        if profile is not None:
            label = model_label(result.model)
            chosen.append(
                QualityPoint(
                    result.model, label, profile.latency_p50_ms, result.main, profile.parameters
                )
            )
    if not chosen:
        target.unlink(missing_ok=True)
        return None
    metric = contents.models_on(split)[0].main_metric
    measured = shape(contents.profiles[0])
    plot_quality_speed(chosen, target, metric=metric, split=split, measured=measured)
    return target
