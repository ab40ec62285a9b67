"""Reading a topic into the store and judging it, beside a librdkafka consumer that only counts: messages a second.

    python3 benches/stream.py BROKERS k6.json TIDEMARK

BROKERS: of a true Kafka; TIDEMARK: the release binary. Needs PyPI's confluent-kafka, whose librdkafka the bare consumer is
linked with, a C compiler and librdkafka's headers (Debian: librdkafka-dev). The records of `forward` over one partition and over four, then one sample a message, as k6's
extension writes them. Each topic is read in turn by the bare consumer and by `stream`, three times; medians, and their ratio.
"read": all messages were taken; "judged": all samples were counted, in windows and beside thresholds.
"""

import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import confluent_kafka
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

READINGS = 3
# What a pod has together stays together, as k6 writes it.
LINES_TOGETHER = 4


def create(brokers, name, partitions):
    topic = f"bench-{name}-{partitions}-{os.getpid()}"
    admin = AdminClient({"bootstrap.servers": brokers})
    for future in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
        future.result()
    return topic


def send_pods(brokers, topic, tidemark, lines, pods, folder):
    files = [folder / f"pod-{pods}-{pod}.json" for pod in range(pods)]
    writers = [file.open("wb") for file in files]
    for index, line in enumerate(lines):
        writers[index // LINES_TOGETHER % pods].write(line)
    for writer in writers:
        writer.close()
    began = time.monotonic()
    subprocess.run([tidemark, "forward", "--brokers", brokers, "--topic", topic, *files], check=True,
                   stderr=subprocess.DEVNULL)
    seconds = time.monotonic() - began
    print(f"forward, {pods} files: {sum(map(len, lines)) / 1e6 / seconds:.0f} MB/s of JSON")


def send_points(brokers, topic, lines, partitions):
    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 20, "queue.buffering.max.messages": 1_000_000})
    form = re.compile(rb'\{"metric":"([^"]*)","type":"Point","data":(.*)\}\n')
    count = 0
    for line in lines:
        point = form.fullmatch(line)
        if not point:
            continue
        data = point[2].replace(b'"tags":{', b'"tags":{"testid":"bench",').replace(b'"bench",}', b'"bench"}')
        message = b'{"type":"Point","data":' + data + b',"metric":"' + point[1] + b'"}'
        while True:
            try:
                producer.produce(topic, message, partition=count % partitions)
                break
            except BufferError:
                producer.poll(0.1)
        count += 1
    producer.flush()


def bare(consumer, brokers, topic, partitions):
    said = subprocess.run([consumer, brokers, topic, str(partitions)], check=True, capture_output=True, text=True).stdout
    count, seconds = said.split()
    return int(count), float(seconds)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def stream(tidemark, brokers, topic, messages, samples):
    """Returns the seconds from the first message to the last, and to the last sample; and the most memory, in MB."""
    with tempfile.TemporaryDirectory() as store:
        port = free_port()
        command = [tidemark, "stream", "--brokers", brokers, "--topic", topic, "--group", f"bench-{time.time_ns()}",
                   "--store", store, "--quiet-seconds", "1", "--listen", f"127.0.0.1:{port}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        began = read = judged = None
        memory = 0
        while judged is None:
            try:
                text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
            except OSError:
                time.sleep(0.005)
                continue
            figures = dict(re.findall(r"^(\w+) ([\d.e+]+)$", text, re.MULTILINE))
            count = int(figures["tidemark_stream_messages_total"])
            memory = max(memory, int(figures["process_resident_memory_bytes"]))
            now = time.monotonic()
            if count and began is None:
                began = now
            if count >= messages and read is None:
                read = now
            if int(figures["tidemark_stream_samples_total"]) >= samples:
                judged = now
            time.sleep(0.005)
        for line in process.stdout:
            if json.loads(line)["event"] in ("run_reported", "run_unreadable"):
                break
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
        memory = max(memory, int(re.search(r"^process_resident_memory_bytes (\d+)$", text, re.MULTILINE)[1]))
        process.terminate()
        process.wait()
        return read - began, judged - began, memory / 1e6


def main():
    brokers, file, tidemark = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        consumer = folder / "bare_consumer"
        source = pathlib.Path(__file__).with_name("bare_consumer.c")
        libraries = pathlib.Path(confluent_kafka.__file__).parent.with_name("confluent_kafka.libs")
        library = next(libraries.glob("librdkafka*.so*"))
        subprocess.run(["cc", "-O2", source, library, f"-Wl,-rpath,{libraries}", "-Wl,--allow-shlib-undefined", "-o", consumer],
                       check=True)
        with open(file, "rb") as k6:
            lines = k6.readlines()
        samples = sum(b'"type":"Point"' in line for line in lines)
        for name, partitions in [("forward", 1), ("forward", 4), ("points", 1), ("points", 4)]:
            topic = create(brokers, name, partitions)
            if name == "forward":
                send_pods(brokers, topic, tidemark, lines, partitions, folder)
            else:
                send_points(brokers, topic, lines, partitions)
            rates = {"bare": [], "read": [], "judged": []}
            for _ in range(READINGS):
                count, seconds = bare(consumer, brokers, topic, partitions)
                rates["bare"].append(count / seconds)
                read, judged, memory = stream(tidemark, brokers, topic, count, samples)
                rates["read"].append(count / max(read, 1e-3))
                rates["judged"].append(count / judged)
            medians = {what: statistics.median(values) for what, values in rates.items()}
            print(f"{name}, {partitions} partitions, {count} messages; stream at most {memory:.0f} MB")
            for what, rate in medians.items():
                print(f"  {what:7} {rate:10.0f} messages/s  {rate / medians['bare']:.2f}")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
