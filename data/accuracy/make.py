#!/usr/bin/env python3
"""Makes the cases of this folder from the collections that its README names, and draws those of `looking`.

  make.py JUDGEMENT    JUDGEMENT: a folder with regression/, tcpd/, nab/ and rca/ in the form of their collections

Cases and truths are JSON, one object a line, gzip without a time stamp: the same input gives the same bytes."""
import csv, gzip, json, os, random, sys
from math import exp, isnan

HERE = os.path.dirname(os.path.abspath(__file__))


def write(name, rows):
    with open(os.path.join(HERE, name + ".jsonl.gz"), "wb") as file, gzip.GzipFile("", "wb", 9, file, 0) as packed:
        for row in rows:
            packed.write((json.dumps(row, separators=(",", ":")) + "\n").encode())


def lines(path):
    with open(path) as file:
        return [json.loads(line) for line in file if line.strip()]


def regression(folder):
    """What `accuracy regression` does not read is left out: whole-run figures and single samples."""
    cases = [
        {"id": case["id"], "target": case["target"], "runs": [{"windows": run["windows"]} for run in case["runs"]]}
        for case in lines(f"{folder}/regression/cases.jsonl")
    ]
    truths = [
        {"id": truth["id"], "shift": truth["shift"], "drift": truth["drift"]}
        for truth in lines(f"{folder}/regression/truth.jsonl")
    ]
    return cases, truths


def change_points(folder):
    annotations = json.load(open(f"{folder}/tcpd/annotations.json"))
    cases, truths = [], []
    for name in sorted(os.listdir(f"{folder}/tcpd/series")):
        series = json.load(open(f"{folder}/tcpd/series/{name}"))
        if series["name"] in annotations:
            values = series["series"][0]["raw"]
            cases.append({"id": series["name"], "values": values})
            people = list(annotations[series["name"]].values())
            truths.append({"id": series["name"], "annotations": people, "values_count": len(values)})
    return cases, truths


def anomalies(folder):
    labels = json.load(open(f"{folder}/nab/labels/combined_windows.json"))
    cases, truths = [], []
    for name in sorted(labels):
        path = f"{folder}/nab/data/{name}"
        if not os.path.exists(path):
            continue
        rows = list(csv.DictReader(open(path)))
        places = {row["timestamp"].split(".")[0]: place for place, row in enumerate(rows)}
        limits = [[limit.split(".")[0] for limit in window] for window in labels[name]]
        windows = sorted([places[a], places[b]] for a, b in limits if a in places and b in places)
        cases.append({"id": name, "v": [float(row["value"]) for row in rows]})
        truths.append({"id": name, "windows": windows, "values_count": len(rows)})
    return cases, truths


def root_cause(folder):
    """What `accuracy root-cause` does not read is left out: the values of the symptom, the indicators."""
    cases, truths = [], []
    for name in ("nezha", "petshop"):
        for case in lines(f"{folder}/rca/{name}.cases.jsonl"):
            target = case["target"] and {key: case["target"][key] for key in ("service", "metric")}
            kept = {key: case[key] for key in ("id", "inject_time", "graph", "time")}
            kept["series"] = {
                series: [None if value is not None and isnan(value) else value for value in values]
                for series, values in case["series"].items()
            }
            cases.append({**kept, "target": target})
        for truth in lines(f"{folder}/rca/{name}.truth.jsonl"):
            truths.append({key: truth[key] for key in ("id", "service", "system")})
    return cases, truths


def looking():
    """Tests of 60 windows beside eight earlier runs: 1,000 unchanged, 250 slower by 20 %, 250 by 10 %, from their start on.

    Runs differ by 1.3 to 3.8 % (normal on the log scale), as forty true runs of one script against one local server did;
    windows within a run by an AR(1) of 3 %, and all runs of a case warm up alike."""
    draw = random.Random(20261126)
    cases, truths = [], []
    for number in range(1500):
        shift = 0.0 if number < 1000 else 0.2 if number < 1250 else 0.1
        between, warm_up = draw.uniform(0.013, 0.038), draw.uniform(0, 0.3)

        def run(factor):
            level = 100 * factor * exp(draw.gauss(0, between))
            windows, noise = [], draw.gauss(0, 0.03)
            for window in range(60):
                noise = 0.5 * noise + 0.75**0.5 * draw.gauss(0, 0.03)
                windows.append(round(level * exp(noise) * (1 + warm_up * exp(-window / 3)), 1))
            return windows

        cases.append({"id": f"{number}", "history": [run(1) for _ in range(8)], "windows": run(1 + shift)})
        truths.append({"id": f"{number}", "shift": shift})
    return cases, truths


for name, (cases, truths) in {
    "regression": regression(sys.argv[1]),
    "change-points": change_points(sys.argv[1]),
    "anomalies": anomalies(sys.argv[1]),
    "looking": looking(),
    "root-cause": root_cause(sys.argv[1]),
}.items():
    write(f"{name}.cases", cases)
    write(f"{name}.truth", truths)
    print(f"{name}: {len(cases)} cases")
