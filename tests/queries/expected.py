#!/usr/bin/env python3
"""Writes the .slt of every named query: its answers by DuckDB, from what k6 wrote, without any of our code.

    python3 -m venv venv && venv/bin/pip install duckdb==2.0.1
    venv/bin/python tests/queries/expected.py

The tables are made here from k6's raw JSON and k6's own summaries in data/. The SQL is that of queries/, with the names of two
functions changed: k6_percentile is DuckDB's quantile_cont (the same definition), date_bin its time_bucket.
"""

import gzip
import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb

TREE = Path(__file__).resolve().parents[2]

# As `tests/all/queries.rs` analyses them: a name, k6's JSON, k6's summary where it is given too, the test.
RUNS = [
    *((f"history-{i}", f"history/{i}", False, "history") for i in range(1, 6)),
    ("aborted", "aborted", False, "aborted"),
    ("checkout", "checkout", True, "checkout"),
    ("dropped", "dropped", False, "dropped"),
]

# Runs with what the servers answered about them; in a store of their own.
RECORDED = [("recorded", "recordings/gc-catalog")]

# The questions: a query's parameters. A run is named as @NAME; the runner knows its id.
ASKED = {
    "checks": [{"run": "@checkout"}, {"run": "@aborted"}],
    "dropped_iterations": [{"run": "@dropped", "window": "2 seconds"}, {"run": "@checkout"}],
    "endpoint_latency_per_window": [{"run": "@checkout"}, {"run": "@history-4", "window": "1 second"}],
    "errors_by_status_and_endpoint": [{"run": "@checkout"}, {"run": "@aborted"}, {"run": "@history-1"}],
    "metric_history": [
        {"test": "history"},
        {},
        {"metric": "checks", "test": "history"},
        {"metric": "http_req_duration", "environment": "none such"},
    ],
    "slowest_endpoints": [{"run": "@checkout"}, {"run": "@checkout", "top": "2"}],
    "slowest_requests": [{"run": "@checkout", "top": "15"}],
    "system_per_window": [{"run": "@recorded", "service": "catalog"}, {"run": "@recorded", "window": "30 seconds"}],
    "threshold_headroom": [{"run": "@checkout"}, {"run": "@aborted"}],
    "throughput_per_window": [{"run": "@checkout"}, {"run": "@checkout", "window": "1 second"}],
    "two_runs_compared": [{"base": "@history-3", "current": "@history-4"}, {"base": "@history-1", "current": "@checkout"}],
    "vus_and_iterations": [{"run": "@checkout"}, {"run": "@dropped", "window": "2 seconds"}],
}


def sql_of(name):
    return (TREE / "queries" / f"{name}.sql").read_text()


def default_values(sql):
    """What the header says: $name (type, default value)."""
    found = re.findall(r"\$(\w+) \((\w+), default ([^)]*)\)", sql)
    return {name: (kind, None if value == "none" else value) for name, kind, value in found}


def value_of(kind, text):
    if text is None:
        return None
    if kind == "interval":
        count, unit = text.split()
        return timedelta(**{unit.rstrip("s") + "s": float(count)})
    return int(text) if kind == "integer" else text


def lines_of(folder):
    path = TREE / "data" / folder / "k6.json.gz"
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


def summary_of(folder):
    return json.loads((TREE / "data" / folder / "summary-export.json").read_text())["metrics"]


def tables(connection):
    connection.execute("""CREATE TABLE samples (run_id TEXT, time TIMESTAMP_NS, metric TEXT, value DOUBLE, endpoint TEXT, method TEXT,
        status TEXT, scenario TEXT, "group" TEXT, expected_response BOOLEAN, "check" TEXT, error_code TEXT, metadata TEXT)""")
    for name, folder in [*(run[:2] for run in RUNS), *RECORDED]:
        path = TREE / "data" / folder / "k6.json.gz"
        tag = lambda key: f"nullif(data->'tags'->>'{key}', '')"
        connection.execute(f"""INSERT INTO samples SELECT '@{name}', CAST(rtrim(data->>'time', 'Z') AS TIMESTAMP_NS), metric,
            CAST(data->>'value' AS DOUBLE), {tag('name')}, {tag('method')}, {tag('status')}, {tag('scenario')}, {tag('group')},
            CAST({tag('expected_response')} AS BOOLEAN), {tag('check')}, {tag('error_code')}, data->>'metadata'
            FROM read_ndjson('{path}', columns = {{metric: 'TEXT', type: 'TEXT', data: 'JSON'}}) WHERE type = 'Point'""")
    connection.execute("""CREATE VIEW windows AS SELECT run_id, date_trunc('second', time) AS window_start, metric, endpoint, method,
        scenario, "group", expected_response, "check", count(*) AS samples_count, count(*) FILTER (WHERE value <> 0) AS nonzero_count,
        sum(value) AS sum, min(value) AS min, max(value) AS max FROM samples GROUP BY ALL""")
    connection.execute("CREATE TABLE runs (run_id TEXT, started_at TIMESTAMP_NS, test TEXT, environment TEXT, commit TEXT, verdict TEXT)")
    connection.execute("""CREATE TABLE thresholds (run_id TEXT, metric TEXT, expression TEXT, passed BOOLEAN, observed DOUBLE,
        headroom DOUBLE, abort_on_fail BOOLEAN, judged_by TEXT)""")
    connection.execute("""CREATE TABLE metrics (run_id TEXT, metric TEXT, samples_count BIGINT, avg DOUBLE, med DOUBLE, p95 DOUBLE,
        p99 DOUBLE, max DOUBLE, rate DOUBLE, per_second DOUBLE, value DOUBLE)""")
    for name, folder, with_summary, test in RUNS:
        run = f"@{name}"
        exit_code = (TREE / "data" / folder / "exit_code").read_text().strip()
        declared = {line["metric"]: line["data"] for line in lines_of(folder) if line["type"] == "Metric"}
        summary = summary_of(folder)
        # k6's own clock is not in the stream: what is per second is over the time that the samples span.
        seconds = connection.execute("SELECT epoch_ns(max(time)) - epoch_ns(min(time)) FROM samples WHERE run_id = ?", [run]).fetchone()[0] / 1e9
        has_thresholds = any(data.get("thresholds") for data in declared.values())
        verdict = "thresholds_failed" if exit_code == "99" else "pass" if has_thresholds else "inconclusive"
        connection.execute("INSERT INTO runs SELECT ?, min(time), ?, 'default', NULL, ? FROM samples WHERE run_id = ?", [run, test, verdict, run])
        for metric, figures in summary.items():
            parent = metric.split("{")[0]
            # The stream does not declare a metric that never had a sample; k6's summary has it, when there is a threshold on it.
            kind = declared[parent]["type"] if parent in declared else "counter"
            has_samples = parent in declared and figures.get("count", 1) > 0
            if has_samples and (metric in declared or with_summary):
                count = connection.execute("SELECT count(*) FROM samples WHERE run_id = ? AND metric = ?", [run, metric]).fetchone()[0]
                if kind == "trend" and "p(99)" not in figures:
                    # The script did not ask k6 for it.
                    figures["p(99)"] = connection.execute(
                        "SELECT quantile_cont(value, 0.99) FROM samples WHERE run_id = ? AND metric = ?", [run, metric]).fetchone()[0]
                of = lambda key, *kinds: figures.get(key) if kind in kinds else None
                row = [run, metric, count, *(of(key, "trend") for key in ["avg", "med", "p(95)", "p(99)"]), of("max", "trend", "gauge"),
                       of("value", "rate"), figures["count"] / seconds if kind == "counter" else None, of("value", "gauge")]
                connection.execute(f"INSERT INTO metrics VALUES ({', '.join('?' * len(row))})", row)
            aborts = {threshold["threshold"]: threshold["abortOnFail"] for threshold in in_stream(declared, metric)}
            for expression, failed in figures.get("thresholds", {}).items():
                # The stream tells the thresholds of metrics alone; those of sub-metrics are in the summary.
                if not with_summary and expression not in aborts:
                    continue
                # Of nothing, k6's summary says 0 and our table nothing.
                observed = observed_by_k6(kind, expression, figures, seconds) if has_samples else None
                connection.execute("INSERT INTO thresholds VALUES (?, ?, ?, ?, ?, ?, ?, 'samples')",
                                   [run, metric, expression, not failed, observed, headroom(expression, observed), aborts.get(expression, False)])


def telemetry(connection):
    """The tables of what servers said, from their raw answers: those that a query reads, and of those the columns."""
    connection.execute("CREATE TABLE host_metrics (run_id TEXT, time TIMESTAMP_NS, metric TEXT, service TEXT, rate_per_second DOUBLE)")
    connection.execute("CREATE TABLE spans (run_id TEXT, start TIMESTAMP_NS, service TEXT, own_ms DOUBLE, trace_id TEXT)")
    connection.execute("CREATE TABLE logs (run_id TEXT, time TIMESTAMP_NS, service TEXT, level TEXT)")
    for name, folder in RECORDED:
        root = TREE / "data" / folder
        spans = {}
        for file in json.loads((root / "manifest.json").read_text())["files"]:
            answer = json.loads(gzip.decompress((root / file["file"]).read_bytes()))
            if file["server"] == "prometheus" and "query_range" in file["path"]:
                for series in answer["data"]["result"]:
                    rows_of_series(connection, f"@{name}", series)
            elif "/traces/" in file["path"]:
                for one in spans_of(answer["trace"]):
                    spans.setdefault((one["trace"], one["id"], one["kind"]), one)
            elif file["server"] == "loki":
                lines = {(int(value[0]), stream["stream"]["service"], stream["stream"]["level"], value[1], json.dumps(stream["stream"]))
                         for stream in answer["data"]["result"] for value in stream["values"]}
                connection.executemany("INSERT INTO logs VALUES (?, make_timestamp_ns(?), ?, ?)",
                                       [[f"@{name}", *line[:3]] for line in sorted(lines)])
        children = {}
        for one in spans.values():
            children.setdefault((one["trace"], one["parent"]), []).append(one)
        connection.executemany("INSERT INTO spans VALUES (?, make_timestamp_ns(?), ?, ?, ?)", [
            [f"@{name}", one["start"], one["service"], own_ms(one, children.get((one["trace"], one["id"]), [])), one["trace"]]
            for one in spans.values()])


def rows_of_series(connection, run, series):
    labels = series["metric"]
    metric = labels["__name__"]
    points = [(round(time * 1000) * 1_000_000, float(value)) for time, value in series["values"]]
    counts_up = metric.endswith(("_total", "_sum", "_count", "_bucket"))
    rates = [None]
    for (before, old), (at, new) in zip(points, points[1:]):
        # A counter that falls was started anew.
        rise = new - old if new >= old else new
        rates.append(rise / ((at - before) / 1e9) if counts_up else None)
    connection.executemany("INSERT INTO host_metrics VALUES (?, make_timestamp_ns(?), ?, ?, ?)",
                           [[run, at, metric, labels["service"], rate] for (at, _), rate in zip(points, rates)])


def spans_of(trace):
    for batch in trace["resourceSpans"]:
        service = next(one["value"]["stringValue"] for one in batch["resource"]["attributes"] if one["key"] == "service.name")
        for span in (span for scope in batch["scopeSpans"] for span in scope["spans"]):
            yield {"trace": span["traceId"], "id": span["spanId"], "parent": span.get("parentSpanId"), "kind": span["kind"],
                   "service": service, "start": int(span["startTimeUnixNano"]), "end": int(span["endTimeUnixNano"])}


def own_ms(span, children):
    """Nanosecond edges, swept: the time that no child covers."""
    edges = sorted({span["start"], span["end"], *(min(max(child[end], span["start"]), span["end"]) for child in children for end in ("start", "end"))})
    covered = lambda a, b: any(child["start"] <= a and b <= child["end"] for child in children)
    return sum(b - a for a, b in zip(edges, edges[1:]) if not covered(a, b)) / 1e6


def in_stream(declared, metric):
    """A metric's thresholds in the stream, each as {"threshold", "abortOnFail"}."""
    thresholds = declared.get(metric, {}).get("thresholds") or []
    return [{"threshold": one, "abortOnFail": False} if isinstance(one, str) else one for one in thresholds]


def observed_by_k6(kind, expression, figures, seconds):
    figure = re.match(r"p\([\d.]+\)|\w+", expression).group()
    if kind == "counter" and figure == "rate":
        return figures["count"] / seconds
    return figures["med" if figure == "p(50)" else "value" if figure == "rate" else figure]


def headroom(expression, observed):
    """How far inside the limit, as a fraction of it."""
    operator, limit = re.search(r"([<>]=?)\s*([\d.]+)$", expression).groups()
    limit = float(limit)
    if limit == 0 or observed is None:
        return None
    return (limit - observed) / limit if operator.startswith("<") else (observed - limit) / limit


def answer(connection, name, given):
    """The rows as text, and a letter for the type of each column."""
    sql = sql_of(name)
    defaults = default_values(sql)
    values = {key: value_of(kind, given.get(key, text)) for key, (kind, text) in defaults.items()}
    # DuckDB cannot tell the type of a parameter that is null.
    sql = re.sub(r"\$(\w+) IS NULL", r"CAST($\1 AS TEXT) IS NULL", sql)
    sql = sql.replace("k6_percentile(", "quantile_cont(").replace("date_bin(", "time_bucket(")
    relation = connection.execute(f"DESCRIBE {sql}", values).fetchall()
    types = [row[1] for row in relation]
    columns = [f'epoch_ns("{row[0]}")' if row[1].startswith("TIMESTAMP") else f'"{row[0]}"' for row in relation]
    rows = connection.execute(f"SELECT {', '.join(columns)} FROM ({sql}) AS answer", values).fetchall()
    letters = "".join("I" if "INT" in kind else "R" if kind in ("DOUBLE",) or "DECIMAL" in kind else "T" for kind in types)
    return letters, [" ".join(cell(value, kind) for value, kind in zip(row, types)) for row in rows]


def cell(value, kind):
    if value is None:
        return "NULL"
    if kind.startswith("TIMESTAMP"):
        seconds, nanoseconds = divmod(value, 1_000_000_000)
        return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S") + f".{nanoseconds:09d}Z"
    if kind == "BOOLEAN":
        return str(value).lower()
    if kind == "DOUBLE" or "DECIMAL" in kind:
        return repr(float(value))
    return str(value) or "(empty)"


def main():
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    # The last digit of a sum depends on which thread ends first; with one, every run writes the same files.
    connection.execute("SET threads = 1")
    tables(connection)
    telemetry(connection)
    for name, questions in ASKED.items():
        text = f"# {sql_of(name).splitlines()[0].removeprefix('-- ')}\n"
        text += "# Expected by DuckDB from k6's raw JSON and summaries, by tests/queries/expected.py; not by our code.\n"
        for given in questions:
            letters, rows = answer(connection, name, given)
            parameters = "".join(f"\n{key}={value}" for key, value in given.items())
            text += f"\nquery {letters}\nnamed {name}{parameters}\n----\n" + "".join(f"{row}\n" for row in rows)
        (Path(__file__).parent / f"{name}.slt").write_text(text)


main()
