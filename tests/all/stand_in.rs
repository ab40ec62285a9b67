//! An HTTP server for faults that real servers do not produce on demand, and one that answers from a recording.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// With the query.
    pub path: String,
    /// In lower case.
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn path_asked(&self) -> &str {
        self.path.split('?').next().unwrap()
    }

    /// A parameter of the query, or of a form.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        let of = |text: &[u8]| {
            let mut pairs = url::form_urlencoded::parse(text);
            pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        of(query.as_bytes()).or_else(|| of(&self.body))
    }
}

pub enum Reply {
    Json(u16, Vec<u8>),
    /// The bytes of the whole answer; then the connection is closed.
    Raw(Vec<u8>),
    /// The bytes, again and again, until the client has had enough.
    Endless(Vec<u8>),
    /// Nothing, for a time.
    Silence(Duration),
}

pub struct StandIn {
    pub address: String,
    pub asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl StandIn {
    pub fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> StandIn {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", socket.local_addr().unwrap());
        let (stop, asked) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Asked>>>::default());
        let (answer, stopped, noted) = (Arc::new(answer), stop.clone(), asked.clone());
        let listener = std::thread::spawn(move || {
            for connection in socket.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let (answer, noted) = (answer.clone(), noted.clone());
                std::thread::spawn(move || serve(connection, &*answer, &noted));
            }
        });
        StandIn { address, asked, stop, listener: Some(listener) }
    }

    pub fn asked_count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the listener, which may have gone already.
        drop(TcpStream::connect(self.address.trim_start_matches("http://")));
        self.listener.take().unwrap().join().unwrap();
    }
}

/// Answers one request: a client that went away is none of this server's business.
fn serve(connection: TcpStream, answer: &(impl Fn(&Asked) -> Reply + ?Sized), noted: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let Some(asked) = read(&mut reader) else { return };
    noted.lock().unwrap().push(asked.clone());
    let mut connection = connection;
    let written = match answer(&asked) {
        Reply::Json(status, body) => {
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            connection.write_all(&[head.as_bytes(), &body].concat())
        }
        Reply::Raw(bytes) => connection.write_all(&bytes),
        Reply::Endless(bytes) => {
            while connection.write_all(&bytes).is_ok() {}
            Ok(())
        }
        Reply::Silence(duration) => {
            std::thread::sleep(duration);
            Ok(())
        }
    };
    drop(written);
}

fn read(reader: &mut impl BufRead) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let path = words.nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        headers.push(line.trim().to_lowercase());
    }
    let length = headers.iter().find_map(|header| header.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { path, headers, body })
}

/// The answers of a recording, to be given again.
pub struct Recorded {
    folder: PathBuf,
    files: Vec<Value>,
    services: Vec<Value>,
    /// What a search finds: those traces that the recording holds.
    traces: Vec<Found>,
}

struct Found {
    start_ns: i64,
    is_error: bool,
    answer: Value,
}

impl Recorded {
    pub fn of(folder: &Path) -> Recorded {
        let manifest: Value = serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
        let files = manifest["files"].as_array().unwrap().clone();
        let services = manifest["services"].as_array().unwrap().clone();
        let mut recorded = Recorded { folder: folder.to_owned(), files, services, traces: Vec::new() };
        let is_trace = |file: &&Value| file["path"].as_str().unwrap().contains("/api/v2/traces/");
        let traces: Vec<Found> =
            recorded.files.iter().filter(is_trace).filter_map(|file| recorded.found(file)).collect();
        recorded.traces = traces;
        recorded
    }

    fn body(&self, file: &Value) -> Vec<u8> {
        let mut body = Vec::new();
        let packed = fs::File::open(self.folder.join(file["file"].as_str().unwrap())).unwrap();
        GzDecoder::new(packed).read_to_end(&mut body).unwrap();
        body
    }

    fn found(&self, file: &Value) -> Option<Found> {
        let trace: Value = serde_json::from_slice(&self.body(file)).unwrap();
        let spans = |batch: &Value| {
            let scopes = batch["scopeSpans"].as_array().unwrap().clone();
            scopes.into_iter().flat_map(|scope| scope["spans"].as_array().unwrap().clone()).collect::<Vec<_>>()
        };
        let time = |span: &Value, at: &str| span[at].as_str().unwrap().parse::<i64>().unwrap();
        let all = trace["trace"]["resourceSpans"].as_array()?.iter().flat_map(spans);
        let first =
            all.filter(|span| span["kind"] == "SPAN_KIND_SERVER").min_by_key(|span| time(span, "startTimeUnixNano"))?;
        let (start_ns, end_ns) = (time(&first, "startTimeUnixNano"), time(&first, "endTimeUnixNano"));
        let id = file["path"].as_str().unwrap().rsplit('/').next().unwrap();
        let answer = json!({
            "traceID": id.trim_start_matches('0'), "rootServiceName": "<root span not yet received>",
            "startTimeUnixNano": start_ns.to_string(), "durationMs": (end_ns - start_ns) / 1_000_000,
            "spanSets": [{ "spans": [{ "name": first["name"] }], "matched": 1 }]
        });
        Some(Found { start_ns, is_error: first["status"]["code"] == "STATUS_CODE_ERROR", answer })
    }

    /// Answers as the server would that was recorded; `path`: without what is before the server's own.
    pub fn answer(&self, path: &str, asked: &Asked) -> Reply {
        let good = |body: Value| Reply::Json(200, body.to_string().into_bytes());
        let list = |data: Value| good(json!({ "status": "success", "data": data }));
        let kept = |file: Option<&Value>| file.map(|file| Reply::Json(200, self.body(file)));
        let query = asked.parameter("query").unwrap_or_default();
        let series = |file: &&Value| file["server"] == "prometheus" && recorded_parameter(file, "query").is_some();
        match path {
            "/api/v1/label/__name__/values" => {
                let names =
                    self.files.iter().filter(series).map(|file| name_of(&recorded_parameter(file, "query").unwrap()));
                list(json!(names.collect::<BTreeSet<String>>()))
            }
            "/api/v1/label/service/values" | "/loki/api/v1/label/service/values" => list(json!(self.services)),
            "/api/v1/query_exemplars" => list(json!([])),
            _ if path.starts_with("/api/v1/label/") => list(json!([])),
            "/loki/api/v1/labels" => list(json!(["service", "level"])),
            "/api/v1/query_range" => {
                let is_it = |file: &&Value| {
                    series(file) && name_of(&recorded_parameter(file, "query").unwrap()) == name_of(&query)
                };
                let nothing = || list(json!({ "resultType": "matrix", "result": [] }));
                kept(self.files.iter().find(is_it)).unwrap_or_else(nothing)
            }
            "/loki/api/v1/query_range" if query.starts_with("sum by") => {
                list(json!({ "resultType": "matrix", "result": [] }))
            }
            "/loki/api/v1/query_range" => kept(self.files.iter().find(|file| file["server"] == "loki")).unwrap(),
            "/api/v2/search/tag/resource.service.name/values" => {
                let values: Vec<Value> =
                    self.services.iter().map(|name| json!({ "type": "string", "value": name })).collect();
                good(json!({ "tagValues": values }))
            }
            "/api/search" => {
                let second = |name: &str| asked.parameter(name).unwrap().parse::<i64>().unwrap() * 1_000_000_000;
                let (from, until, limit) = (second("start"), second("end"), asked.parameter("limit").unwrap());
                let is_failed = asked.parameter("q").unwrap().contains("status=error");
                let found = self
                    .traces
                    .iter()
                    .filter(|one| (from..until).contains(&one.start_ns) && (!is_failed || one.is_error));
                let found: Vec<&Value> = found.take(limit.parse().unwrap()).map(|one| &one.answer).collect();
                good(json!({ "traces": found }))
            }
            _ if path.starts_with("/api/v2/traces/") => {
                // A search leaves out leading zeros, and so did who recorded it.
                let id = |path: &str| path.rsplit('/').next().unwrap().trim_start_matches('0').to_owned();
                let is_it = |file: &&Value| {
                    let held = file["path"].as_str().unwrap();
                    held.starts_with("/api/v2/traces/") && id(held) == id(path)
                };
                kept(self.files.iter().find(is_it)).unwrap_or_else(|| good(json!({ "trace": {} })))
            }
            "/querier.v1.QuerierService/LabelValues" => good(json!({ "names": self.services })),
            "/querier.v1.QuerierService/ProfileTypes" => {
                kept(self.files.iter().find(|file| file["path"] == path)).unwrap()
            }
            "/querier.v1.QuerierService/SelectMergeStacktraces" => {
                let wanted: Value = serde_json::from_slice(&asked.body).unwrap();
                let time = |body: &Value, at: &str| body[at].as_i64().unwrap();
                let shared = |file: &Value| {
                    let body = &file["body"];
                    time(body, "end").min(time(&wanted, "end")) - time(body, "start").max(time(&wanted, "start"))
                };
                let is_it = |file: &&Value| {
                    let same = |key: &str| file["body"][key] == wanted[key];
                    file["path"] == path && same("profileTypeID") && same("labelSelector")
                };
                let nearest = self.files.iter().filter(is_it).max_by_key(|file| shared(file));
                let nothing = || {
                    good(
                        json!({ "flamegraph": { "names": ["total"], "levels": [{ "values": ["0", "0", "0", "0"] }] } }),
                    )
                };
                kept(nearest).unwrap_or_else(nothing)
            }
            _ => Reply::Json(404, b"{\"message\":\"not found\"}".to_vec()),
        }
    }
}

fn recorded_parameter(file: &Value, name: &str) -> Option<String> {
    let query = file["path"].as_str().unwrap().split_once('?')?.1;
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// The metric of a query for one.
fn name_of(query: &str) -> String {
    query.split('{').next().unwrap().to_owned()
}
