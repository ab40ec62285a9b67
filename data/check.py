#!/usr/bin/env python3
"""Checks the recordings against themselves, and writes the tables of files into their READMEs.

    check.py [--tables] FOLDER...

- Every line of a stream is valid JSON of a known kind, and a Metric line comes before the first Point of its metric.
- Every figure of a summary follows from the stream beside it: counts, sums, rates, gauges, every percentile; of sub-metrics, too.
- Every row of a CSV is the point of the same place in the stream: metric, time, value.
- The exit code is the one expected, and the failed thresholds are.
- No file names a path, a user or a host of the machine that made it.
"""

import csv
import getpass
import gzip
import io
import json
import math
import os
import re
import socket
import sys
from datetime import datetime
from pathlib import Path

EXPECTED_EXIT_CODES = {
    "checkout": 99, "machine-summary": 99, "csv-time-formats": 0, "pods": 99, "unusual": 0, "aborted": 99, "clean": 0, "dropped": 0, "history": 0,
}  # fmt: skip
EXPECTED_FAILED_THRESHOLDS = {
    "checkout": {
        ("http_req_duration", "p(95)<30"),
        ("http_req_duration{name:POST /pay}", "p(95)<150"),
        ("http_req_failed", "rate<0.02"),
        ("checks{group:::checkout}", "rate>0.99"),
    },
    "aborted": {("http_req_failed", "rate<0.20")},
    "pods": {("http_reqs{scenario:arrivals}", "count>80")},
}
# k6 drops samples that JSON can not hold (an infinity) from the stream; its summary and its CSV keep them.
INCOMPLETE_IN_THE_STREAM = {"unusual": {"unbounded"}}
MADE_FROM = {"layout-2": "checkout"}

failures = []


def fail(where, what):
    failures.append(f"{where}: {what}")


def text_of(path):
    raw = path.read_bytes()
    return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")


class Stream:
    """A stream of k6 --out json: its Metric lines and its Points, in the order of the file."""

    def __init__(self, path):
        self.metrics, self.points = {}, []
        lines = text_of(path).split("\n")
        if lines.pop() != "":
            fail(path, "the last line has no end")
        self.lines_count = len(lines)
        for number, line in enumerate(lines, 1):
            record = json.loads(line)
            name = record["metric"]
            if record["type"] == "Metric":
                if name in self.metrics or list(record) != ["type", "data", "metric"] or record["data"]["name"] != name:
                    fail(path, f"line {number}: an odd Metric line")
                self.metrics[name] = record["data"]
            elif record["type"] == "Point":
                if name not in self.metrics or list(record) != ["metric", "type", "data"]:
                    fail(path, f"line {number}: an odd Point, or one before its Metric line")
                self.points.append((name, record["data"]))
            else:
                fail(path, f"line {number}: type {record['type']}")

    def values_of(self, name):
        """The values of a metric, or of a sub-metric like `checks{group:::pay}`, in the order of the file."""
        parent = name.split("{", 1)[0]
        tags = {}
        if parent not in self.metrics:
            return []
        if name != parent:
            tags = next(s["tags"] for s in self.metrics[parent]["submetrics"] if s["name"] == name)
        return [
            data["value"] for metric, data in self.points
            if metric == parent and all(data["tags"].get(k) == v for k, v in tags.items())
        ]  # fmt: skip


def percentile(ordered, fraction):
    """k6's own: linear between the two nearest ranks."""
    if not ordered:
        return 0.0
    position = fraction * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def figure(key, values):
    """The figure that k6 calls `key`, computed from the values; None for those that need more than the values."""
    ordered = sorted(values)
    match key:
        case "count":
            return len(values)
        case "avg":
            return sum(values) / len(values) if values else 0.0
        case "min" | "max":
            return (ordered[0] if key == "min" else ordered[-1]) if values else 0.0
        case "med":
            return percentile(ordered, 0.5)
        case "passes" | "matches":
            return sum(1 for v in values if v != 0)
        case "fails":
            return sum(1 for v in values if v == 0)
        case "total":
            return len(values)
    if digits := re.fullmatch(r"p\(?([0-9.]+)\)?", key):
        return percentile(ordered, float(digits[1]) / 100)
    return None


def same(a, b):
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


def check_figures(where, stream, name, kind, figures, skip):
    if name.split("{", 1)[0] in skip:
        return 0
    values = stream.values_of(name)
    checked = 0
    for key, told in figures.items():
        if key == "thresholds" or (key == "rate" and kind == "counter"):
            continue
        if kind == "counter" and key == "count":
            seen = sum(values)
        elif kind == "gauge" and key == "value":
            seen = values[-1] if values else 0.0
        elif kind == "rate" and key in ("value", "rate"):
            seen = figure("passes", values) / len(values) if values else 0.0
        else:
            seen = figure(key, values)
        checked += 1
        if not same(seen, told):
            fail(where, f"{name} {key}: the summary says {told}, the stream {seen}")
    return checked


def kind_of(figures):
    """The kind of a metric in a summary export, which does not say it."""
    keys = set(figures) - {"thresholds"}
    if keys == {"count", "rate"}:
        return "counter"
    if keys == {"value", "min", "max"}:
        return "gauge"
    return "rate" if "passes" in keys else "trend"


def check_summary(path, stream, skip):
    """Compares any of the three summary shapes with the stream; returns the thresholds that failed, and the number of figures."""
    summary = json.loads(text_of(path))
    failed, checked = set(), 0
    if "results" in summary:
        for metric in summary["results"]["metrics"]:
            checked += check_figures(path, stream, metric["name"], metric["type"], metric["values"], skip)
        for told in summary["results"]["checks"]["results"]:
            seen = [d["value"] for m, d in stream.points if m == "checks" and d["tags"]["check"] == told["name"]]
            if (sum(seen), len(seen) - sum(seen)) != (told["passes"], told["fails"]):
                fail(path, f"check {told['name']!r}: {told}, the stream says {sum(seen)} of {len(seen)}")
            checked += 2
        values = stream.values_of("checks")
        for metric in summary["results"]["checks"]["metrics"]:
            if metric["name"] == "checks_total":
                seen = {"count": len(values)}
            else:
                matches = figure("fails" if metric["name"] == "checks_failed" else "passes", values)
                seen = {"matches": matches, "total": len(values), "rate": matches / len(values)}
            if metric["values"].keys() != seen.keys() or not all(same(metric["values"][k], v) for k, v in seen.items()):
                fail(path, f"{metric['name']}: the summary says {metric['values']}, the stream {seen}")
            checked += len(seen)
        return failed, checked
    checked += check_groups(path, stream, summary["root_group"], "")
    for name, metric in summary["metrics"].items():
        if "values" in metric:
            checked += check_figures(path, stream, name, metric["type"], metric["values"], skip)
            failed |= {(name, source) for source, t in metric.get("thresholds", {}).items() if not t["ok"]}
        else:
            checked += check_figures(path, stream, name, kind_of(metric), metric, skip)
            failed |= {(name, source) for source, breached in metric.get("thresholds", {}).items() if breached}
    for metric in set(stream.metrics) - set(summary["metrics"]) - {"group_duration"}:
        fail(path, f"{metric} is in the stream, not in the summary")
    return failed, checked


def check_groups(path, stream, group, parent):
    """Compares the checks of a group and of those within, in both shapes: maps (summary export) and lists (handleSummary)."""
    checked = 0
    for told in group["checks"].values() if isinstance(group["checks"], dict) else group["checks"]:
        seen = [
            data["value"] for metric, data in stream.points
            if metric == "checks" and (data["tags"]["group"], data["tags"]["check"]) == (parent, told["name"])
        ]  # fmt: skip
        if told["path"] != f"{parent}::{told['name']}" or (told["passes"], told["fails"]) != (sum(seen), len(seen) - sum(seen)):
            fail(path, f"check {told}: the stream says {sum(seen)} of {len(seen)}")
        checked += 2
    for inner in group["groups"].values() if isinstance(group["groups"], dict) else group["groups"]:
        checked += check_groups(path, stream, inner, f"{parent}::{inner['name']}")
    return checked


def nanoseconds(text):
    """Nanoseconds since the epoch of an RFC 3339 time."""
    date, fraction, zone = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text).groups()
    seconds = int(datetime.fromisoformat(date + ("+00:00" if zone == "Z" else zone)).timestamp())
    return seconds * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))


def check_csv(path, stream, skip):
    time_format = path.name.split(".")[0] if path.parent.name == "csv-time-formats" else "unix"
    rows = list(csv.reader(io.StringIO(text_of(path), newline="")))
    header, rows = rows[0], rows[1:]
    if header[:3] != ["metric_name", "timestamp", "metric_value"] or header[-2:] != ["extra_tags", "metadata"]:
        fail(path, f"odd header {header}")
    rows = [row for row in rows if row[0] not in skip]
    points = [point for point in stream.points if point[0] not in skip]
    if len(rows) != len(points):
        fail(path, f"{len(rows)} rows for {len(points)} points")
    unit = {"unix": 10**9, "unix_milli": 10**6, "unix_micro": 10**3, "unix_nano": 1}
    for number, (row, (name, data)) in enumerate(zip(rows, points), 2):
        if len(row) != len(header):
            fail(path, f"record {number}: {len(row)} fields")
        at = nanoseconds(data["time"])
        match time_format:
            case "rfc3339":
                timely = nanoseconds(row[1]) == at // 10**9 * 10**9
            case "rfc3339_nano":
                timely = row[1] == data["time"]
            case _:
                timely = int(row[1]) == at // unit[time_format]
        tags = {key: value for key, value in zip(header[3:-2], row[3:-2])}
        if not (timely and row[0] == name and row[2] == f"{data['value']:f}"):
            fail(path, f"record {number}: {row[:3]} for {name} {data['time']} {data['value']}")
        if any(data["tags"].get(key, "") != value for key, value in tags.items()):
            fail(path, f"record {number}: its tags are not those of the point")
        # The order changes from row to row and nothing is escaped: the text can be told right, but not always taken apart.
        for column, pairs in ((-2, {k: v for k, v in data["tags"].items() if k not in tags}), (-1, data.get("metadata", {}))):
            if sorted(row[column]) != sorted("&".join(f"{k}={v}" for k, v in pairs.items())):
                fail(path, f"record {number}: {header[column]} is {row[column]!r}, the point has {pairs}")
    return len(rows)


def check_traces_of_the_machine(path):
    text = text_of(path)
    forbidden = [re.escape(str(Path.home())), re.escape(str(Path(__file__).resolve().parent)), r"/(?:tmp|home|root|work|Users|private)/"]
    for word in (socket.gethostname(), getpass.getuser()):
        # Short names like "vm" or "root" stand inside other words, and in k6's own key root_group.
        forbidden.append(rf"(?<![\w.-]){re.escape(word)}(?![\w.-])")
    for pattern in forbidden:
        if found := re.search(pattern, text):
            fail(path, f"names the machine: {text[max(0, found.start() - 30) : found.end() + 30]!r}")


def check_folder(folder):
    """Checks one run's folder, or each of the runs in it; returns a line that says what was compared."""
    name = folder.name
    run = name if name in EXPECTED_EXIT_CODES else folder.parent.name
    skip = INCOMPLETE_IN_THE_STREAM.get(run, set())
    lines = figures = rows = 0
    streams = {}
    for path in sorted(folder.glob("k6*.json*")):
        stream = Stream(path)
        streams[path.name.removeprefix("k6").split(".")[0]] = stream
        lines += stream.lines_count
    for path in sorted([*folder.glob("summary-export*.json"), *folder.glob("handle-summary*.json")]):
        suffix = path.stem.removeprefix("summary-export").removeprefix("handle-summary")
        failed, checked = check_summary(path, streams[suffix], skip)
        figures += checked
        if run != "machine-summary" and failed != EXPECTED_FAILED_THRESHOLDS.get(run, set()):
            fail(path, f"failed thresholds: {sorted(failed)}")
    for path in sorted(folder.glob("*.csv*")):
        rows += check_csv(path, streams[""], skip)
    for path in sorted(folder.glob("exit_code*")):
        if int(path.read_text()) != EXPECTED_EXIT_CODES[run]:
            fail(path, f"{path.read_text().strip()}, expected {EXPECTED_EXIT_CODES[run]}")
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix != ".py":
            check_traces_of_the_machine(path)
    if run == "csv-time-formats" and not all(data["time"].endswith("+05:30") for _, data in streams[""].points):
        fail(folder, "its zone is not +05:30: is the time zone database missing?")
    if run == "machine-summary":
        text = text_of(folder / "script.ts")
        for path in (folder / "summary-export.json", folder / "handle-summary.json"):
            if json.loads(text_of(path))["config"]["script"] != text:
                fail(path, "config.script is not script.ts")
    return f"{lines} lines, {figures} figures of summaries, {rows} rows of CSV"


def check_layout_2(folder):
    made, told = json.loads(next(folder.glob("summary-*.json")).read_text()), folder.parent / "checkout"
    true = json.loads((told / "summary-export.json").read_text())
    added = {"generatorHealth", "schemaVersion", "reportMeta"}
    if {k: v for k, v in made.items() if k not in added} != true or not added <= set(made):
        fail(folder, "more than the three keys differs from ../checkout/summary-export.json")
    for path in folder.iterdir():
        if path.suffix != ".py":
            check_traces_of_the_machine(path)
    return f"{len(true['metrics'])} metrics as in ../checkout"


def describe(path):
    """Rows, lines or nothing: how much a file holds, in the words of its format."""
    name = path.name
    if re.fullmatch(r"k6.*\.json(\.gz)?", name):
        stream = Stream(path)
        return f"{stream.lines_count:,} lines: {len(stream.metrics)} Metric, {len(stream.points):,} Point"
    if ".csv" in name:
        return f"{len(list(csv.reader(io.StringIO(text_of(path), newline='')))) - 1:,} rows and a header"
    if name.endswith(".json"):
        summary = json.loads(path.read_text())
        metrics = summary["results"]["metrics"] if "results" in summary else summary["metrics"]
        return f"{len(metrics)} metrics"
    if name.startswith("exit_code"):
        return path.read_text().strip()
    return f"{len(text_of(path).splitlines())} lines"


def write_table(folder):
    readme = folder / "README.md"
    rows = ["| file | bytes | holds |", "|---|---:|---|"]
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != readme:
            rows.append(f"| `{path.relative_to(folder)}` | {path.stat().st_size:,} | {describe(path)} |")
    begin, end = "<!-- files: written by ../make -->\n", "\n<!-- end of files -->"
    text = readme.read_text()
    head, _, rest = text.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        fail(readme, "no place for the table of files")
        return
    readme.write_text(head + begin + "\n".join(rows) + end + tail)


def main():
    arguments = sys.argv[1:]
    tables = "--tables" in arguments
    for folder in [Path(a) for a in arguments if a != "--tables"]:
        runs = sorted(p for p in folder.iterdir() if p.is_dir()) or [folder]
        for run in runs:
            said = check_layout_2(run) if run.name == "layout-2" else check_folder(run)
            print(f"{folder.name + '/' + run.name if run != folder else run.name}: {said}")
        if tables:
            write_table(folder)
    for failure in failures:
        print(failure, file=sys.stderr)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
