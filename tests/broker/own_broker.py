"""A true Kafka of its own: it encrypts and asks who one is, and at last keeps a batch that nobody can unpack.

    python3 tests/broker/own_broker.py TIDEMARK

Forward and stream go over every way in; where there is none, that is told. The batch is stepped over, and the rest is judged.

Starts a broker of its own, with the Kafka that ../shared/stack/kafka installed, on ports that are free; needs java and openssl.
Prints one line for each way in, and ends with 1 when one was not as it should be.
"""

import gzip
import json
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

DATA = pathlib.Path(__file__).parents[2] / "data"
HOME = pathlib.Path(os.environ.get("TIDEMARK_STACK", pathlib.Path.home() / ".cache" / "tidemark-stack"))
LIBRARIES = HOME / "kafka" / "libs"
LOGGING = pathlib.Path(__file__).parents[3] / "shared" / "stack" / "kafka" / "log4j2.yaml"
FILE = DATA / "checkout" / "k6.json.gz"
PASSWORD = "correct horse"
BROKER_WITHIN_SECONDS = 60
JAVA = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dlog4j2.configurationFile={LOGGING}",
        "-cp", f"{LIBRARIES}/*"]
LISTENERS = ["SSL", "SASL_SSL", "SASL_PLAINTEXT"]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def certificates(folder):
    """An authority, a broker and a client that it vouches for, and an authority that nobody knows."""

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, cwd=folder)

    for name in ("authority", "stranger"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                "-out", f"{name}.pem")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name in ("broker", "client"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl("x509", "-req", "-days", "2", "-in", f"{name}.csr", "-CA", "authority.pem", "-CAkey", "authority.key",
                "-CAcreateserial", "-extfile", "names", "-out", f"{name}.pem")
    (folder / "broker-both.pem").write_text((folder / "broker.key").read_text() + (folder / "broker.pem").read_text())


def start_broker(folder, ports, controller):
    plain = f'org.apache.kafka.common.security.plain.PlainLoginModule required username="broker" password="{PASSWORD}" ' \
        f'user_broker="{PASSWORD}" user_tidemark="{PASSWORD}";'
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    logins = [f"listener.name.{name.lower()}.plain.sasl.jaas.config={plain}\n"
              f"listener.name.{name.lower()}.scram-sha-256.sasl.jaas.config={scram}\n"
              f"listener.name.{name.lower()}.scram-sha-512.sasl.jaas.config={scram}\n"
              for name in LISTENERS if name.startswith("SASL")]
    addresses = [f"{name}://127.0.0.1:{port}" for name, port in zip(LISTENERS, ports)]
    inside = f"INSIDE://127.0.0.1:{ports[-1]}"
    kinds = ",".join(f"{name}:{name}" for name in LISTENERS)
    properties = folder / "server.properties"
    properties.write_text(f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners={",".join([*addresses, inside])},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={",".join([*addresses, inside])}
listener.security.protocol.map={kinds},INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INSIDE
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker-both.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/authority.pem
listener.name.ssl.ssl.client.auth=required
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
{"".join(logins)}""")
    scrams = [f"{mechanism}=[name=tidemark,password={PASSWORD}]" for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")]
    added = [part for scram in scrams for part in ("--add-scram", scram)]
    subprocess.run([*JAVA, "kafka.tools.StorageTool", "format", "--cluster-id", "tidemarkSecuredKafk00", "--config", properties,
                    *added], check=True, capture_output=True)
    broker = run_broker(folder)
    subprocess.run([*JAVA, "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", f"127.0.0.1:{ports[-1]}", "--create",
                    "--topic", "k6", "--partitions", "2"], check=True, capture_output=True)
    return broker


def run_broker(folder):
    log = open(folder / "log", "wb")
    broker = subprocess.Popen([*JAVA, "kafka.Kafka", folder / "server.properties"], stdout=log, stderr=log)
    until = time.monotonic() + BROKER_WITHIN_SECONDS
    while "Kafka Server started" not in (folder / "log").read_text():
        if time.monotonic() > until or broker.poll() is not None:
            broker.kill()
            sys.exit(f"the broker did not start: {(folder / 'log').read_text()[-2000:]}")
        time.sleep(0.2)
    return broker


def comparable(report):
    for source in report["run"]["sources"]:
        for field in ("name", "kind", "bytes", "sha256"):
            source.pop(field, None)
    return report


def through(tidemark, folder, name, way, environment, expected):
    store = folder / f"store-{name}"
    forward = [tidemark, "forward", *way, "--run-id", name, "--pods", "1", str(FILE)]
    # The topic holds the runs of the other ways as well: each was read as often as there were ways.
    stream = [tidemark, "stream", *way, "--group", name, "--store", str(store), "--until-idle"]
    for command in (forward, stream):
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        if ended.returncode != 0:
            return f"{command[1]} ended with {ended.returncode}: {ended.stderr.strip()[-300:]}"
    said = subprocess.run([tidemark, "report", "last", "--store", store, "--format", "json"], capture_output=True)
    return None if comparable(json.loads(said.stdout)) == expected else "another report than that of the file"


def refused(tidemark, way, environment, words):
    forward = [tidemark, "forward", *way, "--run-id", "nobody", str(FILE)]
    began = time.monotonic()
    ended = subprocess.run(forward, env=environment, capture_output=True, text=True, timeout=120)
    seconds = time.monotonic() - began
    if ended.returncode == 0 or words not in ended.stderr.strip().splitlines()[-1] or PASSWORD in ended.stderr:
        return f"ended with {ended.returncode} after {seconds:.1f} s: {ended.stderr.strip()[-600:]}"
    print(f"    after {seconds:.1f} s: {ended.stderr.strip().splitlines()[-1][:200]}")
    return None


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def make_unreadable(folder):
    """Gives the second batch of a partition a compression that does not exist: no broker takes such a batch from a client.

    Returns how many messages are in it.
    """
    logs = (folder / "data").glob("k6-*/*.log")
    log = max(logs, key=lambda path: path.stat().st_size)
    data = bytearray(log.read_bytes())
    # Of the first batch: base offset, then its length behind these twelve bytes.
    second = 12 + struct.unpack_from(">qi", data, 0)[1]
    end = second + 12 + struct.unpack_from(">i", data, second + 8)[0]
    attributes = second + 21
    struct.pack_into(">h", data, attributes, struct.unpack_from(">h", data, attributes)[0] & ~7 | 6)
    struct.pack_into(">I", data, second + 17, crc32c(data[attributes:end]))
    log.write_bytes(data)
    return struct.unpack_from(">i", data, second + 57)[0]


def stepped_over(tidemark, folder, way, environment, group, runs, unreadable):
    store = str(folder / f"store-{group}")
    stream = [tidemark, "stream", *way, "--group", group, "--store", store, "--quiet-seconds", "5", "--until-idle"]
    ended = subprocess.run(stream, env=environment, capture_output=True, text=True, timeout=120)
    reported = [event for event in map(json.loads, ended.stdout.splitlines()) if event["event"] == "run_reported"]
    whole = sum(not event["partial"] for event in reported)
    counts = re.findall(r"stepped over .* count=(\d+)", ended.stderr)
    if ended.returncode == 0 and (len(reported), whole) == (runs, runs - 1) and counts == [str(unreadable)]:
        return None
    return f"ended with {ended.returncode}, {len(reported)} of {runs} runs, {whole} whole, {counts} of {unreadable}: {ended.stderr.strip()[-600:]}"


def main():
    tidemark = sys.argv[1]
    folder = pathlib.Path(tempfile.mkdtemp())
    *ports, controller = free_ports(len(LISTENERS) + 2)
    certificates(folder)
    broker = start_broker(folder, ports, controller)
    failed = 0
    try:
        address = {name: f"localhost:{port}" for name, port in zip(LISTENERS, ports)}
        authority = ["--tls-ca", str(folder / "authority.pem")]
        certificate = ["--tls-certificate", str(folder / "client.pem"), "--tls-key", str(folder / "client.key")]
        password_file = folder / "password"
        password_file.write_text(PASSWORD + "\n")
        by_file = ["--sasl-password-file", str(password_file)]
        user = ["--sasl-user", "tidemark"]
        plain = {name: value for name, value in os.environ.items() if not name.startswith("TIDEMARK_")}
        known = {**plain, "TIDEMARK_KAFKA_PASSWORD": PASSWORD}
        wrong = {**plain, "TIDEMARK_KAFKA_PASSWORD": "battery staple"}
        batch = [tidemark, "analyze", FILE, "--store", folder / "batch", "--format", "json"]
        expected = comparable(json.loads(subprocess.run(batch, capture_output=True).stdout))

        def way(listener, *options):
            return ["--brokers", address[listener], *options]

        ways = {
            "certificate": (way("SSL", *authority, *certificate), plain),
            "tls-plain": (way("SASL_SSL", *authority, *user), known),
            "tls-scram-256": (way("SASL_SSL", *authority, *user, "--sasl-mechanism", "scram-sha-256"), known),
            "tls-scram-512": (way("SASL_SSL", *authority, *user, *by_file, "--sasl-mechanism", "scram-sha-512"), plain),
            "scram-256": (way("SASL_PLAINTEXT", *user, "--sasl-mechanism", "scram-sha-256"), known),
            "plain": (way("SASL_PLAINTEXT", *user), known),
        }
        for name, (options, environment) in ways.items():
            wrong_with_it = through(tidemark, folder, name, options, environment, expected)
            failed += wrong_with_it is not None
            print(f"{name}: {wrong_with_it or 'the same report'}", flush=True)
        stranger = ["--tls-ca", str(folder / "stranger.pem")]
        nowhere = {
            "wrong password": (way("SASL_SSL", *authority, *user), wrong, "Authentication failed"),
            "wrong password, scram": (way("SASL_PLAINTEXT", *user, "--sasl-mechanism", "scram-sha-512"), wrong, "Authentication failed"),
            "unknown authority": (way("SASL_SSL", *stranger, *user), known, "certificate verify failed"),
            "no certificate": (way("SSL", *authority), plain, "certificate"),
            "no password": (way("SASL_SSL", *authority, *user), plain, "TIDEMARK_KAFKA_PASSWORD"),
            "plaintext to TLS": (way("SSL"), plain, "--tls"),
        }
        for name, (options, environment, words) in nowhere.items():
            wrong_with_it = refused(tidemark, options, environment, words)
            failed += wrong_with_it is not None
            print(f"{name}: {wrong_with_it or 'told'}", flush=True)
        broker.terminate()
        broker.wait()
        unreadable = make_unreadable(folder)
        broker = run_broker(folder)
        # The partitions race: which comes first must not matter.
        for group in ("first", "second", "third"):
            options = way("SASL_PLAINTEXT", *user)
            wrong_with_it = stepped_over(tidemark, folder, options, known, group, len(ways), unreadable)
            failed += wrong_with_it is not None
            print(f"a batch that nobody can unpack, {group}: {wrong_with_it or 'stepped over, no other message is lost'}", flush=True)
    finally:
        broker.terminate()
        broker.wait()
        shutil.rmtree(folder)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
