"""Size and speed of a Run's models, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from destilo.records import ProfileResult
from destilo.report.contents import RunContents, model_rank
from destilo.report.markdown import MISSING, amount, table, three_digits, times
from destilo.report.summary import model_label, ratio


def speed(contents: RunContents) -> list[str]:
    """Tabulate sizes and times of a Run's models, the teacher first."""
    if not contents.profiles:
        return ["Not profiled: there is no `profile.json` in this run."]
    profiles = sorted(contents.profiles, key=lambda one: model_rank(one.model))
    reference = contents.profile_of("teacher")
    sizes = [
        [
            model_label(one.model),
            amount(one.parameters),
            amount(one.embedding_parameters),
            three_digits(one.size_mb),
            amount(one.macs),
            amount(one.macs_without_attention),
            times(ratio(reference.parameters, one.parameters) if reference else None),
            times(ratio(reference.macs, one.macs) if reference else None),
        ]
        for one in profiles
    ]
    speeds = [
        [
            model_label(one.model),
            three_digits(one.latency_p50_ms),
            three_digits(one.latency_p95_ms),
            three_digits(one.latency_mean_ms),
            three_digits(one.throughput_per_s),
            three_digits(one.peak_memory_mb),
            times(ratio(reference.latency_p50_ms, one.latency_p50_ms) if reference else None),
        ]
        for one in profiles
    ]
    size_header = ["model", "parameters", "of which embeddings", "weights, MB", "MACs"]
    size_header += ["MACs without attention products", "smaller by", "fewer MACs by"]
    speed_header = ["model", "p50, ms", "p95, ms", "mean, ms", "rows/s", "peak memory, MB"]
    taken = (
        f"Measured at {shape(profiles[0])}; {profiles[0].n_samples} timed passes per model "
        f"after {profiles[0].n_warmup} to warm up, the models in turn. Peak memory is that of the "
        "whole process, all models loaded."
    )
    return [
        table(size_header, sizes),
        table([*speed_header, "faster by"], speeds),
        "" if reference else "The teacher was not profiled, so there is nothing to compare with.",
        taken,
        *_paper_protocol(profiles),
    ]


def _paper_protocol(profiles: Sequence[ProfileResult]) -> list[str]:
    """The figures by which Speedy Gonzales compares models, where the recipe asked for them."""
    measured = [one for one in profiles if one.paper_inferences_per_s is not None]
    if not measured:
        return []
    body = [
        [
            model_label(one.model),
            three_digits(one.paper_inferences_per_s or 0),
            f"{one.n_kept} of {one.n_samples}",
            amount(one.macs_of_modules) if one.macs_of_modules else MISSING,
        ]
        for one in measured
    ]
    what = (
        "By the protocol of Speedy Gonzales: passes per second by the mean of the samples whose "
        "modified z-score is at most 0.75; the MACs are what a counter of modules reports. For "
        "comparison with that paper only: the filter hides how slow a slow pass is."
    )
    return [table(["model", "inferences/s", "samples kept", "MACs of modules"], body), what]


def shape(profile: ProfileResult) -> str:
    """Say at what shape and on what machine a profile was taken."""
    threads = "1 thread" if profile.threads == 1 else f"{profile.threads} threads"
    machine = profile.machine
    return (
        f"batch {profile.batch_size} × {profile.sequence_length} positions, {threads}, "
        f"{machine.device} on {machine.processor}, torch {machine.torch}"
    )
