"""Whether a sweep that is killed again and again ends as one that is not.

A sweep is done once in peace and once under ``kill -9`` of all its processes, at random moments
spread over the time that the first one took; each time the same command goes on. Then everything
must be equal but what was timed: ``results.json``, the tables, and the weights to the byte.

    OMP_NUM_THREADS=1 python benchmarks/killed_sweep.py --output DIR [--sweep FILE] [--kills 10]

Without --sweep it is one of tiny models on the embedded data.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.collection import tiny_sweep

TIMED = re.compile(
    r"seconds|latency|throughput|peak_memory|n_kept|inferences|hours|by time|of wide|times as long|"
    r"machine"
)
"""Keys and columns of what differs between any two runs."""


def command(sweep: Path, output: Path, more: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "destilo", "sweep", str(sweep), "-o", str(output), *more]


def do_in_peace(sweep: Path, output: Path, more: Sequence[str]) -> tuple[float, float]:
    """Seconds of a whole sweep, and of its start until the first trial."""
    start = time.perf_counter()
    process = subprocess.Popen(command(sweep, output, [*more, "--quiet"]))
    first = None
    while process.poll() is None:
        if first is None and any((output / "trials").glob("*")):
            first = time.perf_counter() - start
        time.sleep(0.05)
    if process.returncode != 0:
        sys.exit(f"the sweep itself fails (exit code {process.returncode}); mend that first")
    return time.perf_counter() - start, first or 0.0


def do_under_fire(
    sweep: Path, output: Path, more: Sequence[str], *, waits: Sequence[float]
) -> Iterator[tuple[float, str]]:
    """Kill after each wait and go on; yields the wait and what was the last to change."""
    for wait in waits:
        process = subprocess.Popen(
            command(sweep, output, [*more, "--quiet"]), start_new_session=True
        )
        try:
            process.wait(timeout=wait)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            yield wait, last_changed(output)
        else:
            if process.returncode != 0:
                sys.exit(f"a continued sweep fails (exit code {process.returncode})")
            return


def last_changed(output: Path) -> str:
    """The file that was written last: what the sweep was at."""
    files = [path for path in output.rglob("*") if path.is_file() and path.name != ".lock"]
    if not files:
        return "nothing yet"
    return str(max(files, key=lambda path: path.stat().st_mtime_ns).relative_to(output))


def timeless(value: Any) -> Any:
    """Without what was timed."""
    if isinstance(value, dict):
        return {k: timeless(inner) for k, inner in value.items() if not TIMED.search(k)}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


def what_holds(output: Path) -> dict[str, Any]:
    """What must be equal, by name."""
    held: dict[str, Any] = {}
    results = timeless(json.loads((output / "results.json").read_text(encoding="utf-8")))
    for trial in results.pop("trials"):
        held[f"results.json: {trial['dataset']} {trial['model']} {trial['trial']}"] = trial
    held["results.json"] = results
    for table in sorted((output / "tables").glob("*.csv")):
        with table.open(encoding="utf-8", newline="") as file:
            rows = [timeless(row) for row in csv.DictReader(file)]
        held[table.name] = rows
    for weights in sorted(output.rglob("*.safetensors")):
        if "cache" not in weights.relative_to(output).parts[0]:
            name = weights.relative_to(output).as_posix()
            held[name] = hashlib.sha256(weights.read_bytes()).hexdigest()
    return held


def differences(one: dict[str, Any], two: dict[str, Any]) -> list[str]:
    """What is not the same, and how."""
    found = []
    for name in sorted(one.keys() | two.keys()):
        if name not in one or name not in two:
            found.append(f"{name}: only in the {'killed' if name in two else 'other'}")
        elif json.dumps(one[name]) != json.dumps(two[name]):  # NaN equals NaN
            found.append(f"{name}: {one[name]!s:.200} | {two[name]!s:.200}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sweep", type=Path, help="a sweep file")
    parser.add_argument("--output", type=Path, required=True, help="an empty folder")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=13, help="of the moments")
    parser.add_argument("--workers", type=int, default=1, help="processes of the sweep")
    options = parser.parse_args()
    more = ["--workers", str(options.workers)]

    if options.sweep is None:
        options.output.mkdir(parents=True, exist_ok=True)
        options.sweep = options.output / "sweep.json"
        options.sweep.write_text(json.dumps(tiny_sweep(2, max_steps=12, whole=True)))
    peace, fire = options.output / "in-peace", options.output / "under-fire"
    seconds, start = do_in_peace(options.sweep, peace, more)
    print(f"in peace: {seconds:.0f} s, of which {start:.0f} s until the first trial", flush=True)

    rng = random.Random(options.seed)
    moments = sorted(rng.uniform(0, seconds - start) for _ in range(options.kills))
    waits = [
        start + later - earlier for earlier, later in zip([0.0, *moments], moments, strict=False)
    ]
    kills = 0
    for wait, at in do_under_fire(options.sweep, fire, more, waits=waits):
        kills += 1
        print(f"kill {kills} after {wait:.1f} s; last written: {at}", flush=True)
    ended = subprocess.run(command(options.sweep, fire, [*more, "--quiet"]), check=False)
    if ended.returncode != 0:
        sys.exit(f"after {kills} kills the sweep fails (exit code {ended.returncode})")

    held = what_holds(peace)
    found = differences(held, what_holds(fire))
    print(f"{kills} kills; {len(held)} things compared; {len(found)} differ")
    for one in found:
        print(f"  {one}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
