"""Runs engines on works in Node with Dawn or in Chromium, a process each; one JSON line a cell of what it measured.

python -m bench.peers.cells --bench=/some/folder/bench --engines=extra:tvm_webgpu,ort-webgpu-gc --works=mobilenet_v2 \
    --out=results.jsonl

A machine that others use, too, is noisy: a cell runs in several rounds, all engines once a round, and the round with
the median GPU time counts. Needs only Python, Node and that folder; with --runtime=chromium also the files beside this
one, Chromium and the npm package "playwright-core" (chromium.mjs says how they are found).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

Row = dict[str, Any]

RUNTIMES = {"node": ["node-one.mjs"], "chromium": [str(Path(__file__).resolve().with_name("chromium.mjs")), "."]}


def run_cell(bench: Path, node: str, runtime: str, engine: str, work: str, options: Row) -> Row:
    """One engine on one work in a process of its own; a row with `error` if it failed."""
    command = [node, *RUNTIMES[runtime], engine, work, json.dumps(options)]
    failed: Row = {"engine": engine, "workload": work, "env": runtime}
    limit = options["limit"] / 1e3 * 3
    with tempfile.TemporaryFile("w+") as errors, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        # First results are from nothing: what the driver keeps of shaders begins empty, for NVIDIA's and Mesa's. A
        # browser that was killed leaves its profile in there, too.
        caches = dict.fromkeys(("__GL_SHADER_DISK_CACHE_PATH", "MESA_SHADER_CACHE_DIR", "TMPDIR"), scratch)
        environment = {"XDG_RUNTIME_DIR": "/tmp", **os.environ, **caches}
        process = subprocess.Popen(
            command,
            cwd=bench,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        late = threading.Timer(limit, process.kill)
        late.start()
        try:
            assert process.stdout
            for line in process.stdout:
                if line.startswith("RESULT "):
                    return json.loads(line.removeprefix("RESULT "))
            status = process.wait()
            errors.seek(0)
            return {**failed, "error": f"exit status {status}: {errors.read().strip()[-300:]}"}
        finally:  # with its result out, an engine's threads may keep the process for minutes
            late.cancel()
            process.kill()
            process.wait()


def middle(rows: list[Row]) -> Row:
    """The row with the median GPU time (else: from CPU to CPU); what failed counts only if nothing else is there."""
    key = "gpu_ms" if all("gpu_ms" in row for row in rows if "e2e_ms" in row) else "e2e_ms"
    good = sorted((row for row in rows if row.get(key) is not None), key=lambda row: row[key])
    if not good:
        return rows[0]
    chosen = good[(len(good) - 1) // 2]
    return {**chosen, "rounds": [row[key] for row in good], "wrong": sum(not row["check"]["ok"] for row in good)}


def run(
    bench: Path, engines: list[str], works: list[str], out: Path, options: Row, rounds: int, node: str, runtime: str
) -> None:
    with out.open("w") as file:
        for work in works:
            cells: dict[str, list[Row]] = {engine: [] for engine in engines}
            for _ in range(rounds):
                for engine, rows in cells.items():
                    if not (rows and "gpu_ms" not in rows[0] and "e2e_ms" not in rows[0]):  # it failed: not again
                        rows.append(run_cell(bench, node, runtime, engine, work, options))
            for engine, rows in cells.items():
                row = middle(rows)
                file.write(json.dumps(row) + "\n")
                file.flush()
                figures = {key: row.get(key) for key in ("e2e_ms", "gpu_ms", "gpu_busy_ms", "submit_ms", "load_ms")}
                print(f"{work:24} {engine:28} {row.get('error') or row.get('skipped') or figures}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, required=True)
    parser.add_argument("--engines", required=True)
    parser.add_argument("--works", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--limit", type=int, default=60, help="seconds for each step of a cell")
    parser.add_argument("--dawn", action="append", default=[], help="key=value, may be given more than once")
    parser.add_argument("--node", default="node")
    parser.add_argument("--runtime", default="node", choices=sorted(RUNTIMES))
    o = parser.parse_args()
    options = {"seconds": o.seconds, "limit": o.limit * 1000, "maxRuns": 300}
    options["dawn"] = ["disable-dawn-features=timestamp_quantization", *o.dawn]
    run(o.bench, o.engines.split(","), o.works.split(","), o.out.resolve(), options, o.rounds, o.node, o.runtime)


if __name__ == "__main__":
    main()
