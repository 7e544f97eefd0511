"""A profile -> a Chrome trace of its launches, the same as `Profile.trace()` of the TypeScript runtime has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Event = dict[str, Any]


def trace_of(profile: Mapping[str, Any], title: str) -> str:
    """The launches of `Executor.profile` as JSON for ui.perfetto.dev or chrome://tracing, under a title.

    Trace Event Format: complete events ("X") in microseconds. Viewers drop an event that overlaps another of its
    thread, so times are whole nanoseconds and a launch that begins before the last one's end gets a lane of its own.
    """
    ends: list[int] = []
    events: list[Event] = []
    for launch in profile["launches"]:
        begin, end = round(launch["begin"] * 1e6), round((launch["begin"] + launch["ms"]) * 1e6)
        # Averages are off by one now and then.
        lane = next((lane for lane, last in enumerate(ends) if last <= begin + 1), len(ends))
        if lane == len(ends):
            ends.append(0)
        start = max(begin, ends[lane])
        ends[lane] = max(start, end)
        args = {key: launch[key] for key in ("grid", "bytes", "flops") if key in launch}
        place = {"pid": 1, "tid": lane + 1, "ts": start / 1e3, "dur": (ends[lane] - start) / 1e3}
        events.append({"name": launch["kernel"], "cat": "kernel", "ph": "X", **place, "args": args})
    lanes = [_name("thread_name", f"GPU, beside {lane}" if lane else "GPU", tid=lane + 1) for lane in range(len(ends))]
    names = [_name("process_name", title, tid=1), *lanes]
    return json.dumps({"traceEvents": names + events, "displayTimeUnit": "ms"})


def _name(what: str, text: str, tid: int) -> Event:
    return {"name": what, "ph": "M", "pid": 1, "tid": tid, "args": {"name": text}}
