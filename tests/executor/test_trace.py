"""Chrome traces of profiles: what viewers take, without a GPU."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
from tvm_webgpu.executor import trace_of
from tvm_webgpu.executor.commands import Dispatch
from tvm_webgpu.executor.profile import profile_of
from tvm_webgpu.package import Kernel

KERNEL = Kernel("k", "", (1, 1, 1), (), (), flops=6, traffic=8)
LAUNCH = Dispatch(0, (2, 1, 1), (), ())


def events_of(*runs: np.ndarray) -> tuple[list[dict], list[dict]]:
    """The slices and the names in the trace of runs, each of [launches, 2] nanoseconds."""
    profile = profile_of([KERNEL], [([LAUNCH] * len(run), run) for run in runs])
    trace = json.loads(trace_of(profile, "m: main"))
    assert trace.pop("displayTimeUnit") == "ms"
    (events,) = trace.values()
    return [event for event in events if event["ph"] == "X"], [event for event in events if event["ph"] == "M"]


def test_averages_of_launches_without_a_gap_never_overlap() -> None:
    for seed in range(1, 50):
        cuts = [np.arange(40) * (65_536 + seed * run * 37 % 91) for run in range(1 + seed % 10)]
        slices, names = events_of(*(np.stack([cut[:-1], cut[1:]], axis=1) for cut in cuts))
        assert [name["args"]["name"] for name in names] == ["m: main", "GPU"]
        times = [(round(event["ts"] * 1e3), round(event["dur"] * 1e3)) for event in slices]
        assert all(event["ts"] * 1e3 == at and event["dur"] * 1e3 == long for event, (at, long) in zip(slices, times))
        assert all(at + long <= later for (at, long), (later, _) in pairwise(times))


def test_launches_at_once_have_lanes_and_tell_their_work() -> None:
    slices, names = events_of(np.array([[0, 9000], [5000, 12_000], [9000, 10_000]]))
    assert [(event["tid"], event["ts"], event["dur"]) for event in slices] == [(1, 0, 9), (2, 5, 7), (1, 9, 1)]
    assert [(name["tid"], name["args"]["name"]) for name in names[1:]] == [(1, "GPU"), (2, "GPU, beside 1")]
    assert slices[0]["args"] == {"grid": [2, 1, 1], "bytes": 8, "flops": 6}
