//! Runs that come by a true Kafka: whatever is killed, mixed or doubled, the report is that of the file.
//!
//! `eval "$(../shared/stack/up kafka)"` starts the broker and says where it is.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::Value;

use tidemark::ingest::kafka::record::headers;
use tidemark::model::stream::{About, PodEnd};
use tidemark::store::spool::{Spool, SpoolState};

use crate::bucket;
use crate::compared::Random;
use crate::front_door::{data, json, tidemark};
use crate::store_faults::{SmallDisk, skipped};

/// A topic of its own for each test.
struct Topic {
    name: String,
    brokers: String,
}

impl Topic {
    fn new(name: &str, partitions: u32) -> Topic {
        let variable = "TIDEMARK_TEST_KAFKA";
        let brokers = std::env::var(variable)
            .unwrap_or_else(|_| panic!("{variable} is not set: `eval \"$(../shared/stack/up kafka)\"` sets it"));
        let name = format!("{name}-{}", std::process::id());
        let topic = Topic { name, brokers };
        topic.create(partitions as i32);
        topic
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.brokers).create().unwrap()
    }

    fn create(&self, partitions: i32) {
        // A deleted topic is gone a moment after its deletion was confirmed.
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let new = NewTopic::new(&self.name, partitions, TopicReplication::Fixed(1));
            let new = new.set("max.message.bytes", "10000000");
            let created = blocking(self.admin().create_topics([&new], &AdminOptions::new())).unwrap();
            match &created[0] {
                Ok(_) => return,
                Err((name, code)) => assert!(Instant::now() < until, "{name} could not be created: {code}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn delete(&self) {
        let deleted = blocking(self.admin().delete_topics(&[&self.name], &AdminOptions::new())).unwrap();
        assert!(deleted[0].is_ok(), "{deleted:?}");
    }

    /// `tidemark VERB` at this topic.
    fn command(&self, folder: &Path, verb: &str) -> Command {
        let mut command = tidemark(folder);
        command.arg(verb).args(["--brokers", &self.brokers, "--topic", &self.name]);
        command
    }

    fn stream(&self, folder: &Path) -> Command {
        let mut command = self.command(folder, "stream");
        command.args(["--store", "store", "--quiet-seconds", "5", "--commit-seconds", "0.2", "--until-idle"]);
        command
    }

    fn producer(&self) -> Sender<'_> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("linger.ms", "5").set("message.max.bytes", "10000000");
        Sender { producer: config.create().unwrap(), topic: &self.name }
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.delete();
        }
    }
}

fn blocking<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

struct Sender<'t> {
    producer: BaseProducer,
    topic: &'t str,
}

impl Sender<'_> {
    fn send(&self, partition: i32, payload: &[u8], headers: Option<OwnedHeaders>) {
        let mut record: BaseRecord<'_, (), [u8]> = BaseRecord::to(self.topic).partition(partition).payload(payload);
        record.headers = headers;
        loop {
            match self.producer.send(record) {
                Ok(()) => break,
                Err((_, full)) => {
                    self.producer.poll(Duration::from_millis(10));
                    record = full;
                }
            }
        }
    }

    fn finish(&self) {
        self.producer.flush(Duration::from_secs(60)).unwrap();
    }
}

fn below(draws: &mut Random, bound: u64) -> u64 {
    (draws.uniform() * bound as f64) as u64
}

fn text_of(path: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut text).unwrap();
    text
}

/// Waits for a child; kills it, and fails, when it takes too long.
fn ends(mut child: Child, within: Duration) -> String {
    let until = Instant::now() + within;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("it did not end: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

fn started(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What the files say when they are analysed at once, beside what the store holds of the only run in it.
fn assert_same_as_batch(folder: &Path, files: &[PathBuf], options: &[&str]) {
    let batch = tidemark(folder)
        .args(["analyze", "--store", "batch", "--format", "json"])
        .args(options)
        .args(files)
        .output()
        .unwrap();
    let kept = tidemark(folder).args(["report", "last", "--store", "store", "--format", "json"]).output().unwrap();
    let mut different = Vec::new();
    compare("", &comparable(json(&kept)), &comparable(json(&batch)), &mut different);
    assert!(different.is_empty(), "streamed and batch differ:\n{}", different.join("\n"));
    let mut query = tidemark(folder);
    query.args(["query", "SELECT count(*) AS n FROM runs", "--store", "store", "--format", "csv"]);
    let listed = query.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "n\n1\n", "runs in the store");
}

/// Names each field that differs.
fn compare(path: &str, one: &Value, other: &Value, different: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let names: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                let of = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or(Value::Null);
                compare(&format!("{path}.{name}"), &of(one), &of(other), different);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                compare(&format!("{path}[{index}]"), one, other, different);
            }
        }
        _ if one == other => {}
        _ => different.push(format!("{path}: {one} and {other}")),
    }
}

/// The report without what a topic and a file differ in: what the source is called, and how it is packed.
fn comparable(mut report: Value) -> Value {
    for source in report["run"]["sources"].as_array_mut().unwrap() {
        for field in ["name", "kind", "bytes", "sha256"] {
            source.as_object_mut().unwrap().remove(field);
        }
    }
    report
}

#[test]
fn brokers_that_are_missing_or_away_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = data("clean/k6.json");
    for (arguments, input, exit_code, expected) in [
        (vec!["forward"], Some(&file), 2, "where are the brokers? Give --brokers host:port"),
        (vec!["stream"], None, 2, "where are the brokers?"),
        (vec!["stream", "--brokers", "127.0.0.1:1", "--sasl-user", "me"], None, 2, "user me has no password"),
        (vec!["stream", "--brokers", "127.0.0.1:1"], None, 5, "failed to ask the brokers 127.0.0.1:1 for topic k6"),
        (vec!["forward", "--brokers", "127.0.0.1:1"], Some(&file), 5, "Connection refused"),
        (vec!["forward", "--brokers", "127.0.0.1:1", "--pods", "0", "--run-id", "a"], Some(&file), 2, "0 is not in"),
        (vec!["stream", "--brokers", "127.0.0.1:1", "--abort-on", "critical"], None, 2, "--abort-url"),
    ] {
        let output = tidemark(folder.path()).args(&arguments).args(input).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit_code), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {expected:?} in {said}");
    }
    // Nothing is started whose results would go nowhere.
    let output = tidemark(folder.path()).args(["forward", "--brokers", "127.0.0.1:1", "--", "touch", "run"]).output();
    assert_eq!(output.unwrap().status.code(), Some(5));
    assert!(!folder.path().join("run").exists());
}

/// Readers of the topic of findings have it from the tree.
#[test]
fn the_schema_of_events_in_the_tree_is_that_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let printed = tidemark(folder.path()).args(["schema", "event"]).output().unwrap().stdout;
    let kept = std::fs::read(data("schemas/event.json")).unwrap();
    assert!(printed == kept, "tidemark schema event > data/schemas/event.json");
}

#[test]
#[ignore = "needs ../shared/stack"]
fn lines_that_are_mixed_and_doubled_over_four_partitions_and_two_consumers_give_the_report_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let topic = Topic::new("mixed", 4);
    let file = data("checkout/k6.json.gz");
    let text = text_of(&file);
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let mut draws = Random(7);
    let mut order: Vec<(i64, usize)> = Vec::new();
    let mut time_ns = 0;
    for (number, line) in lines.iter().enumerate() {
        let value: Value = serde_json::from_slice(line).unwrap();
        if let Some(time) = value["data"]["time"].as_str() {
            time_ns = time.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp_nanos_opt().unwrap();
        }
        let copies = if below(&mut draws, 100) == 0 { 2 } else { 1 };
        for _ in 0..copies {
            order.push((time_ns + below(&mut draws, 5_000_000_000) as i64, number));
        }
    }
    order.sort();
    let about = About { pods_count: Some(1), ..About::default() };
    let end = PodEnd { lines_count: lines.len() as u64, is_cut: false, k6_exit_code: None };
    let consumers = [(); 2].map(|()| started(&mut topic.stream(folder.path())));
    let sender = topic.producer();
    for (_, number) in order {
        let about = (number == 0).then_some(&about);
        let headers = headers("run-1", "pod", number as u64, about, None);
        sender.send(below(&mut draws, 4) as i32, lines[number], Some(headers));
    }
    sender.send(2, b"", Some(headers("run-1", "pod", lines.len() as u64, None, Some(&end))));
    sender.finish();
    for consumer in consumers {
        ends(consumer, Duration::from_secs(60));
    }
    assert_same_as_batch(folder.path(), &[file], &[]);
}

#[test]
#[ignore = "needs ../shared/stack"]
fn the_pods_of_a_run_meet_in_one_report() {
    let folder = tempfile::tempdir().unwrap();
    let topic = Topic::new("pods", 3);
    let files: Vec<PathBuf> = (1..=3).map(|pod| data(&format!("pods/k6-{pod}.json.gz"))).collect();
    let mut forward = topic.command(folder.path(), "forward");
    ends(started(forward.args(["--k6-exit-code", "0"]).args(&files)), Duration::from_secs(60));
    let consumers = [(); 2].map(|()| started(&mut topic.stream(folder.path())));
    let said: Vec<String> = consumers.map(|consumer| ends(consumer, Duration::from_secs(60))).into();
    let reported: usize = said.iter().map(|said| said.matches("run_reported").count()).sum();
    assert_eq!(reported, 1, "{said:?}");
    assert_same_as_batch(folder.path(), &files, &["--k6-exit-code", "0"]);
}

#[test]
#[ignore = "needs ../shared/stack"]
fn a_store_in_a_bucket_is_shared_by_consumers_that_die() {
    let Some(server) = bucket::Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let topic = Topic::new("bucket", 3);
    let files: Vec<PathBuf> = (1..=3).map(|pod| data(&format!("pods/k6-{pod}.json.gz"))).collect();
    let in_the_bucket = || {
        let mut stream = topic.command(folder.path(), "stream");
        stream.args(["--quiet-seconds", "5", "--commit-seconds", "0.2", "--until-idle"]).envs(server.environment());
        stream
    };
    let mut dying = started(&mut in_the_bucket());
    let mut forward = topic.command(folder.path(), "forward");
    ends(started(forward.args(["--k6-exit-code", "0"]).args(&files)), Duration::from_secs(60));
    std::thread::sleep(Duration::from_millis(500));
    dying.kill().unwrap();
    dying.wait().unwrap();
    for consumer in [(); 2].map(|()| started(&mut in_the_bucket())) {
        ends(consumer, Duration::from_secs(120));
    }
    let exported = folder.path().join("run.tmk");
    let export = tidemark(folder.path()).args(["export", "last"]).envs(server.environment()).output().unwrap();
    assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
    std::fs::write(&exported, export.stdout).unwrap();
    let mut import = tidemark(folder.path());
    let import = import.arg("import").arg(&exported).args(["--store", "store"]).output().unwrap();
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    assert_same_as_batch(folder.path(), &files, &["--k6-exit-code", "0"]);
}

/// How often something is killed; more where the environment says so.
fn kills(usual: usize) -> usize {
    std::env::var("TIDEMARK_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(usual)
}

/// Named, so that another one with its name need not wait until the dead one's session is over.
fn named_stream(topic: &Topic, folder: &Path) -> Command {
    let mut command = topic.stream(folder);
    command.args(["--instance", "one"]);
    command
}

#[test]
#[ignore = "needs ../shared/stack"]
fn a_consumer_that_is_killed_at_any_moment_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let topic = Topic::new("killed", 2);
    let files: Vec<PathBuf> = (1..=3).map(|pod| data(&format!("pods/k6-{pod}.json.gz"))).collect();
    let seed = std::process::id().into();
    println!("seed {seed}");
    let mut draws = Random(seed);
    let mut forwarded = false;
    for kill in 0..kills(6) {
        let mut consumer = started(&mut named_stream(&topic, folder.path()));
        if !forwarded && kill > 0 {
            forwarded = true;
            let mut forward = topic.command(folder.path(), "forward");
            ends(started(forward.args(["--k6-exit-code", "0"]).args(&files)), Duration::from_secs(60));
        }
        std::thread::sleep(Duration::from_millis(below(&mut draws, 2_500)));
        consumer.kill().unwrap();
        consumer.wait().unwrap();
    }
    ends(started(&mut named_stream(&topic, folder.path())), Duration::from_secs(60));
    assert_same_as_batch(folder.path(), &files, &["--k6-exit-code", "0"]);
}

#[test]
#[ignore = "needs ../shared/stack"]
fn a_forward_that_is_killed_goes_on_from_its_spool() {
    let folder = tempfile::tempdir().unwrap();
    let topic = Topic::new("spooled", 2);
    let file = data("checkout/k6.json.gz");
    let text = text_of(&file);
    // Who reads the pipe dies; the pipe, and who writes to it, live on.
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let open = || std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let held = open();
    let writer = std::thread::spawn({
        let mut writing = open();
        let text = text.clone();
        move || {
            for piece in text.chunks(text.len() / 40) {
                std::io::Write::write_all(&mut writing, piece).unwrap();
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    });
    let mut draws = Random(11);
    let forward = || {
        let mut command = topic.command(folder.path(), "forward");
        command.args(["--spool", "spool", "--run-id", "run", "--pods", "1"]);
        command.stdin(std::fs::File::options().read(true).open(&pipe).unwrap());
        started(&mut command)
    };
    for _ in 0..kills(4) {
        let mut killed = forward();
        std::thread::sleep(Duration::from_millis(100 + below(&mut draws, 800)));
        killed.kill().unwrap();
        killed.wait().unwrap();
    }
    let last = forward();
    writer.join().unwrap();
    drop(held);
    ends(last, Duration::from_secs(60));
    assert!(!folder.path().join("spool").exists(), "the spool is gone");
    ends(started(&mut topic.stream(folder.path())), Duration::from_secs(60));
    assert_same_as_batch(folder.path(), &[file], &[]);
}

/// A forward that was killed behind the end of its pipe: what comes down another one is no part of the run.
#[test]
#[ignore = "needs ../shared/stack"]
fn a_spool_whose_pipe_had_ended_is_sent_and_ends_once() {
    let folder = tempfile::tempdir().unwrap();
    let topic = Topic::new("ended", 1);
    let file = data("checkout/k6.json.gz");
    let spooled = folder.path().join("text");
    std::fs::write(&spooled, text_of(&file)).unwrap();
    let about = About { pods_count: Some(1), ..About::default() };
    let state = SpoolState { run: "run".to_owned(), pod: "stdin".to_owned(), about, ..SpoolState::default() };
    let spool = Spool::begin(&folder.path().join("spool"), state).unwrap();
    spool.fill(&std::fs::File::open(&spooled).unwrap(), u64::MAX, &AtomicBool::new(false)).unwrap();
    spool.confirm(0, 0).unwrap();
    drop(spool);
    let mut forward = topic.command(folder.path(), "forward");
    forward.args(["--spool", "spool", "--run-id", "run", "--pods", "1"]).stdin(Stdio::piped());
    ends(started(&mut forward), Duration::from_secs(60));
    assert!(!folder.path().join("spool").exists());
    ends(started(&mut topic.stream(folder.path())), Duration::from_secs(60));
    assert_same_as_batch(folder.path(), &[file], &[]);
}

/// It once said that the run had ended, and waited for who held the pipe.
#[test]
#[ignore = "needs ../shared/stack"]
fn a_forward_that_is_stopped_claims_no_end_and_goes_on_later() {
    let folder = tempfile::tempdir().unwrap();
    let topic = Topic::new("stopped", 1);
    let file = data("checkout/k6.json.gz");
    let text = text_of(&file);
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut held = std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let forward = || {
        let mut command = topic.command(folder.path(), "forward");
        command.args(["--spool", "spool", "--run-id", "run", "--pods", "1"]);
        command.stdin(std::fs::File::options().read(true).open(&pipe).unwrap());
        started(&mut command)
    };
    let stopped = forward();
    let (first, rest) = text.split_at(text.len() / 2);
    std::io::Write::write_all(&mut held, first).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert!(Command::new("kill").arg(stopped.id().to_string()).status().unwrap().success());
    let output = stopped.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("the rest waits in spool: give --spool with it, and --run-id run"), "{said}");
    let last = forward();
    std::io::Write::write_all(&mut held, rest).unwrap();
    drop(held);
    ends(last, Duration::from_secs(60));
    ends(started(&mut topic.stream(folder.path())), Duration::from_secs(60));
    assert_same_as_batch(folder.path(), &[file], &[]);
}

/// In the place of k6 a shell that writes where it is told, and ends as k6 does when a threshold fails.
#[test]
#[ignore = "needs ../shared/stack"]
fn a_command_writes_into_the_topic_and_gives_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let topic = Topic::new("command", 1);
    let file = data("checkout/k6.json.gz");
    let script = format!("gunzip -c {} > \"${{2#json=}}\"; exit 99", file.display());
    let mut forward = topic.command(folder.path(), "forward");
    let output = forward.args(["--", "sh", "-c", &script, "run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(99), "{}", String::from_utf8_lossy(&output.stderr));
    ends(started(&mut topic.stream(folder.path())), Duration::from_secs(60));
    assert_same_as_batch(folder.path(), &[file], &["--k6-exit-code", "99"]);
}

#[test]
#[ignore = "needs ../shared/stack"]
fn a_stream_judges_by_what_was_agreed_on() {
    let folder = tempfile::tempdir().unwrap();
    let topic = Topic::new("agreed", 1);
    let run = |arguments: &[&str]| tidemark(folder.path()).args(arguments).output().unwrap();
    let first = data("nightly/01.json.gz");
    assert_eq!(run(&["analyze", first.to_str().unwrap(), "--store", "store"]).status.code(), Some(0));
    assert!(run(&["baseline", "pin", "last", "--store", "store"]).status.success());
    send_file(&topic, folder.path(), &data("nightly/02.json.gz"));
    ends(started(&mut topic.stream(folder.path())), Duration::from_secs(60));
    let report = json(&run(&["report", "last", "--store", "store", "--format", "json"]));
    assert_eq!(report["baseline"]["kind"], "pinned", "{:#}", report["baseline"]);
}

#[test]
#[ignore = "needs ../shared/stack"]
fn points_of_the_extension_give_the_same_figures() {
    let folder = tempfile::tempdir().unwrap();
    let topic = Topic::new("extension", 4);
    let file = data("checkout/k6.json.gz");
    let text = text_of(&file);
    let sender = topic.producer();
    let mut draws = Random(3);
    let mut points = Vec::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Value = serde_json::from_slice(line).unwrap();
        if line["type"] == "Point" {
            let mut tags = line["data"]["tags"].clone();
            tags.as_object_mut().unwrap().insert("testid".to_owned(), "nightly-1".into());
            let (time, value, metric) = (&line["data"]["time"], &line["data"]["value"], &line["metric"]);
            // The members in the order of the extension's own structs.
            let point = format!(
                r#"{{"type":"Point","data":{{"time":{time},"value":{value},"tags":{tags}}},"metric":{metric}}}"#
            );
            sender.send(below(&mut draws, 4) as i32, point.as_bytes(), None);
            points.push(point);
        }
    }
    sender.finish();
    let said = ends(started(&mut topic.stream(folder.path())), Duration::from_secs(90));
    assert_eq!(said.matches("run_reported").count(), 1, "{said}");
    let kept =
        tidemark(folder.path()).args(["report", "last", "--store", "store", "--format", "json"]).output().unwrap();
    let kept = json(&kept);
    std::fs::write(folder.path().join("points.json"), points.join("\n")).unwrap();
    let batch =
        tidemark(folder.path()).args(["analyze", "points.json", "--store", "batch", "--format", "json"]).output();
    let mut kept = comparable(kept);
    let skipped = kept["skipped"].as_array_mut().unwrap();
    let before = skipped.len();
    skipped.retain(|skipped| !skipped["what"].as_str().unwrap().starts_with("repeated samples"));
    assert_eq!(before - skipped.len(), 1, "what cannot be known is said");
    let mut different = Vec::new();
    compare("", &kept, &comparable(json(&batch.unwrap())), &mut different);
    assert!(different.is_empty(), "streamed and batch differ:\n{}", different.join("\n"));
}

fn send_file(topic: &Topic, folder: &Path, file: &Path) {
    let mut forward = topic.command(folder, "forward");
    ends(started(forward.arg(file)), Duration::from_secs(60));
}

#[test]
#[ignore = "needs ../shared/stack"]
fn poison_is_counted_and_the_rest_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let topic = Topic::new("poison", 2);
    let sender = topic.producer();
    let marks = |line: u64| headers("bad run", "pod", line, None, None);
    for partition in 0..2 {
        sender.send(partition, b"\x00\xff garbage", None);
        sender.send(partition, b"", None);
        sender.send(partition, &vec![b'x'; 5_000_000], None);
        sender.send(partition, b"{\"type\":\"Point\",\"data\":{\"time\":\"yesterday\"}}", None);
        sender.send(partition, b"[1,2", Some(marks(3 + partition as u64)));
        sender.send(partition, b"x", Some(headers("", "pod", 1, None, None)));
    }
    sender.finish();
    send_file(&topic, folder.path(), &data("checkout/k6.json.gz"));
    let mut stream = topic.stream(folder.path());
    stream.args(["--listen", "127.0.0.1:0"]);
    let said = ends(started(&mut stream), Duration::from_secs(90));
    // Two runs of which nothing can be used, and the good one.
    assert_eq!(said.matches("\"run_unreadable\"").count(), 2, "{said}");
    assert_eq!(said.matches("\"run_reported\"").count(), 1, "{said}");
    assert_same_as_batch(folder.path(), &[data("checkout/k6.json.gz")], &[]);
}

#[test]
#[ignore = "needs ../shared/stack"]
fn a_topic_that_is_made_anew_is_read_from_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let topic = Topic::new("anew", 1);
    send_file(&topic, folder.path(), &data("history/1/k6.json.gz"));
    ends(started(&mut topic.stream(folder.path())), Duration::from_secs(60));
    topic.delete();
    topic.create(1);
    send_file(&topic, folder.path(), &data("history/2/k6.json.gz"));
    let said = ends(started(&mut topic.stream(folder.path())), Duration::from_secs(60));
    assert_eq!(said.matches("\"run_reported\"").count(), 1, "{said}");
    let mut query = tidemark(folder.path());
    query.args(["query", "SELECT count(*) AS n FROM runs", "--store", "store", "--format", "csv"]);
    assert_eq!(String::from_utf8_lossy(&query.output().unwrap().stdout), "n\n2\n");
}

#[test]
#[ignore = "needs ../shared/stack"]
fn a_full_disk_ends_it_with_code_5_and_with_room_it_goes_on_where_it_was() {
    let Some(disk) = SmallDisk::mount(48) else {
        return skipped("a stream to a full disk: this process may not mount a tmpfs");
    };
    let (topic, file, folder) = (Topic::new("full", 1), data("checkout/k6.json.gz"), disk.0.path());
    // Its writer finds the pipe broken.
    let mut writer =
        Command::new("gunzip").arg("-c").arg(&file).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut forward = topic.command(folder, "forward");
    let output = forward.args(["--spool", "spool"]).stdin(writer.stdout.take().unwrap()).output().unwrap();
    // The command holds the pipe's end as well.
    drop(forward);
    writer.wait().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("failed to use the spool") && said.contains("No space left on device"), "{said}");
    std::fs::remove_dir_all(folder.join("spool")).unwrap();

    let topic = Topic::new("full-store", 1);
    send_file(&topic, folder, &file);
    let output = topic.stream(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    disk.grow(64 << 10);
    ends(started(&mut topic.stream(folder)), Duration::from_secs(60));
    assert_same_as_batch(folder, &[file], &[]);
}

#[test]
#[ignore = "needs ../shared/stack"]
fn a_step_in_a_running_run_is_told_while_it_goes_on_and_a_steady_run_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let topic = Topic::new("live", 2);
    let mut stream = topic.command(folder.path(), "stream");
    stream.args(["--store", "store", "--commit-seconds", "0.2"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut consumer = stream.spawn().unwrap();
    let (line, lines) = std::sync::mpsc::channel();
    let output = std::io::BufReader::new(consumer.stdout.take().unwrap());
    std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|said| line.send(said)));
    std::thread::sleep(Duration::from_secs(4));
    let pods: Vec<_> = ["timeout-cart", "control"]
        .into_iter()
        .map(|run| {
            let mut forward = topic.command(folder.path(), "forward");
            forward.args(["--run-id", run, "--pods", "1"]).stdin(Stdio::piped());
            let mut child = started(&mut forward);
            let mut pipe = child.stdin.take().unwrap();
            let text = text_of(&data(&format!("recordings/{run}/k6.json.gz")));
            let writer = std::thread::spawn(move || replay(&text, &mut pipe));
            (child, writer)
        })
        .collect();
    let mut ahead = Vec::new();
    for (child, writer) in pods {
        ahead.push(writer.join().unwrap());
        ends(child, Duration::from_secs(30));
    }
    let (mut said, mut reported_count) = (String::new(), 0);
    while reported_count < 2 {
        let line = lines.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|error| panic!("{error}: {said}"));
        reported_count += usize::from(line.contains("\"run_reported\""));
        said += &(line + "\n");
    }
    assert!(Command::new("kill").arg(consumer.id().to_string()).status().unwrap().success());
    ends(consumer, Duration::from_secs(30));
    said.extend(lines.iter().map(|line| line + "\n"));
    let events: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let schema: Value = serde_json::from_slice(&std::fs::read(data("schemas/event.json")).unwrap()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for event in &events {
        let errors: Vec<String> = schema.iter_errors(event).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?} in {event}");
    }
    let of = |run: &str, event: &str| -> Vec<&Value> {
        events.iter().filter(|said| said["run"] == run && said["event"] == event).collect()
    };
    assert_eq!(of("control", "finding_opened"), Vec::<&Value>::new());
    assert_eq!((of("control", "run_reported").len(), of("timeout-cart", "run_reported").len()), (1, 1), "{said}");
    let opened = of("timeout-cart", "finding_opened");
    let reported = of("timeout-cart", "run_reported")[0];
    let last = opened.last().unwrap_or_else(|| panic!("nothing was told: {said}"));
    assert!(reported["findings"].as_array().unwrap().contains(&last["finding"]["id"]), "{said}");
    for event in events.iter().filter(|event| event["run"] == "timeout-cart" && event["finding"].is_object()) {
        let time = |name: &str| event[name].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        // The run's own time, as this replay repeats it.
        let late = time("at") - time("looked_until") - ahead[0];
        println!("{} {} ms after {}", event["event"], late.num_milliseconds(), event["looked_until"]);
    }
}

/// Writes k6's lines as k6 did: each a moment after its time. Returns how far this time is ahead of that of the run.
fn replay(text: &[u8], pipe: &mut impl std::io::Write) -> chrono::TimeDelta {
    let (began, mut first_ns) = (Instant::now(), None);
    let now = chrono::Utc::now();
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let value: Value = serde_json::from_slice(line).unwrap();
        if let Some(time) = value["data"]["time"].as_str() {
            let time_ns = time.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp_nanos_opt().unwrap();
            let due_ns = time_ns - *first_ns.get_or_insert(time_ns) + 200_000_000;
            let due = Duration::from_nanos(u64::try_from(due_ns).unwrap_or(0));
            if let Some(wait) = due.checked_sub(began.elapsed()).filter(|wait| wait.as_millis() > 50) {
                pipe.flush().unwrap();
                std::thread::sleep(wait);
            }
        }
        pipe.write_all(line).unwrap();
    }
    now - chrono::DateTime::from_timestamp_nanos(first_ns.unwrap_or_default())
}

#[test]
#[ignore = "needs ../shared/stack"]
fn what_forward_leaves_out_is_counted_at_the_other_end() {
    let folder = tempfile::tempdir().unwrap();
    let topic = Topic::new("long", 1);
    let good = std::fs::read(data("clean/k6.json")).unwrap();
    let half = good.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let long = vec![b'x'; 3_000_000];
    // The last line is cut, as when who wrote it was killed.
    let text = [&good[..half], &long, b"\n", &good[half..], b"{\"metric\":\"http_re"].concat();
    let file = folder.path().join("k6.json");
    std::fs::write(&file, text).unwrap();
    send_file(&topic, folder.path(), &file);
    ends(started(&mut topic.stream(folder.path())), Duration::from_secs(60));
    let report = |arguments: &[&str]| json(&tidemark(folder.path()).args(arguments).output().unwrap());
    let streamed = report(&["report", "last", "--store", "store", "--format", "json"]);
    let batch = report(&["analyze", "k6.json", "--store", "batch", "--format", "json"]);
    let source = &streamed["run"]["sources"][0];
    assert_eq!((&source["lines_rejected"], &source["truncated"]), (&2.into(), &true.into()), "{source:#}");
    assert_eq!(source["lines_read"], batch["run"]["sources"][0]["lines_read"]);
    assert_eq!(streamed["run"]["id"], batch["run"]["id"]);
    assert_eq!((&streamed["totals"], &streamed["verdict"]), (&batch["totals"], &batch["verdict"]));
}
