//! One question to one server by HTTP: bounded in time and size, asked again when the server is only busy, never led elsewhere.

use std::time::{Duration, Instant, SystemTime};

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Certificate, Identity, Method, Proxy, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Semaphore;
use url::Url;

use super::access::{Access, Credentials, Server, Tls};

/// Longest answer that is taken: with those of [`AT_ONCE`] questions to each of four servers, what may be in memory.
pub const ANSWER_BYTES_MAX: u64 = 32 << 20;
/// Of what a server says instead of an answer.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// Questions under way to one server.
pub const AT_ONCE: usize = 2;
/// A question that takes longer is too large for the server: others may not be.
const QUESTION_SECONDS_MAX: f64 = 10.0;
const CONNECT_SECONDS_MAX: f64 = 3.0;
const TRIES_MAX: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// A server that asks for a longer pause is left alone.
const PAUSE_MAX: Duration = Duration::from_secs(3);
const REDIRECTS_MAX: usize = 3;
/// A longer query is sent as a form in the body: proxies cut lines at 8 KiB.
const PATH_BYTES_MAX: usize = 2_000;
const TENANT: &str = "X-Scope-OrgID";

/// A question, as the manifest of a recording keeps it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Question {
    #[serde(skip)]
    pub server: Server,
    pub method: &'static str,
    /// Below the server's address, with the query.
    pub path: String,
    /// A JSON document, or a text that is a form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Not every server of its kind knows this question: one that does not is no failure.
    #[serde(skip)]
    pub is_optional: bool,
}

impl Question {
    /// Asks by GET, or where the parameters are long, by POST with a form.
    pub fn get(server: Server, path: &str, parameters: &[(&str, String)]) -> Question {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let takes_forms = matches!(server, Server::Prometheus | Server::Loki);
        if takes_forms && form.len() > PATH_BYTES_MAX {
            return Question {
                server,
                method: "POST",
                path: path.to_owned(),
                body: Some(Value::String(form)),
                is_optional: false,
            };
        }
        let path = if form.is_empty() { path.to_owned() } else { format!("{path}?{form}") };
        Question { server, method: "GET", path, body: None, is_optional: false }
    }

    pub fn post(server: Server, path: &str, body: Value) -> Question {
        Question { server, method: "POST", path: path.to_owned(), body: Some(body), is_optional: false }
    }

    /// Asks it of servers that know it.
    pub fn where_served(self) -> Question {
        Question { is_optional: true, ..self }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Why a question has no answer; none of these names an address or a secret.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("the time for asking was over")]
    Late,
    #[error("it did not answer within {seconds:.0} s")]
    Slow { seconds: f64 },
    #[error("no connection to it: {0}")]
    Unreachable(String),
    #[error("its answer has more than {} MiB", ANSWER_BYTES_MAX >> 20)]
    TooLong,
    #[error("it leads to another address, {to}, which is not followed: give that one if it is right")]
    LedElsewhere { to: String },
    #[error("its answer broke off: {0}")]
    Broken(String),
    #[error("it answered with a page and not with JSON: is its address, path included, right?")]
    Page,
}

/// Why a server cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("failed to read {path}")]
    Read {
        path: String,
        #[source]
        cause: std::io::Error,
    },
    #[error("failed to use {what}: {reason}")]
    Refused { what: String, reason: String },
}

pub struct Client {
    http: reqwest::Client,
    access: Access,
    places: Semaphore,
}

impl Client {
    pub fn new(access: Access) -> Result<Client, ClientError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("tidemark/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs_f64(CONNECT_SECONDS_MAX))
            .pool_max_idle_per_host(AT_ONCE)
            .redirect(Policy::custom(follow))
            // The system's proxies are no addresses that the user gave us.
            .no_proxy();
        if let Some(proxy) = &access.proxy {
            let refused = |error: reqwest::Error| ClientError::Refused {
                what: "the proxy".to_owned(),
                reason: reason_of(&error.without_url()),
            };
            builder = builder.proxy(Proxy::all(proxy.clone()).map_err(refused)?);
        }
        // Reading the system's certificates takes longer than many an answer.
        builder = builder.tls_built_in_root_certs(access.url.scheme() == "https");
        let http = with_tls(builder, &access.tls)?
            .build()
            .map_err(|error| ClientError::Refused { what: "TLS".to_owned(), reason: reason_of(&error) })?;
        Ok(Client { http, access, places: Semaphore::new(AT_ONCE) })
    }

    /// Returns the answer, whatever its status; a busy server (429 and 5xx) is asked again while there is time.
    pub async fn ask(&self, question: &Question, deadline: Instant) -> Result<Answer, AskError> {
        let Ok(_place) = tokio::time::timeout_at(deadline.into(), self.places.acquire()).await else {
            return Err(AskError::Late);
        };
        let mut pause = FIRST_PAUSE;
        for tried in 1.. {
            let seconds = seconds_until(deadline).min(QUESTION_SECONDS_MAX);
            if seconds <= 0.0 {
                return Err(AskError::Late);
            }
            let asked = tokio::time::timeout(Duration::from_secs_f64(seconds), self.ask_once(question)).await;
            let (answer, wait) = asked.map_err(|_| {
                if seconds_until(deadline) <= 0.0 { AskError::Late } else { AskError::Slow { seconds } }
            })??;
            let status = StatusCode::from_u16(answer.status).unwrap_or_default();
            let is_busy = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
            let wait = wait.unwrap_or(pause).mul_f64(jitter());
            let has_time = wait <= PAUSE_MAX && wait.as_secs_f64() < seconds_until(deadline);
            if !is_busy || question.is_optional || tried >= TRIES_MAX || !has_time {
                return Ok(answer);
            }
            tokio::time::sleep(wait).await;
            pause *= 2;
        }
        Err(AskError::Late)
    }

    /// Asks once; also returns how long the server wants to be left alone.
    async fn ask_once(&self, question: &Question) -> Result<(Answer, Option<Duration>), AskError> {
        let mut response = self.request(question).send().await.map_err(failed)?;
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let status = response.status();
        let bytes_max = if status.is_success() { ANSWER_BYTES_MAX } else { REFUSAL_BYTES_MAX as u64 };
        let body = body(&mut response, bytes_max).await;
        let body = match body {
            // Of a refusal its beginning is enough.
            Err(AskError::TooLong) if !status.is_success() => Vec::new(),
            body => body?,
        };
        let is_page = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'<');
        if status.is_success() && is_page {
            return Err(AskError::Page);
        }
        Ok((Answer { status: status.as_u16(), body }, wait.map(Duration::from_secs)))
    }

    fn request(&self, question: &Question) -> RequestBuilder {
        let mut url = self.access.url.clone();
        let (path, query) = question.path.split_once('?').map_or((&*question.path, None), |(p, q)| (p, Some(q)));
        let below = format!("{}{path}", url.path().trim_end_matches('/'));
        url.set_path(&below);
        url.set_query(query);
        let method = if question.method == "POST" { Method::POST } else { Method::GET };
        let mut request = self.http.request(method, url).header(ACCEPT, HeaderValue::from_static("application/json"));
        request = match &self.access.credentials {
            Credentials::None => request,
            Credentials::Basic { user, password } => request.basic_auth(user, Some(&password.0)),
            Credentials::Bearer(token) => request.bearer_auth(&token.0),
        };
        if let Some(tenant) = &self.access.tenant {
            request = request.header(TENANT, tenant);
        }
        match &question.body {
            None => request,
            Some(Value::String(form)) => {
                request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.clone())
            }
            Some(json) => request.header(CONTENT_TYPE, "application/json").body(json.to_string()),
        }
    }
}

fn with_tls(builder: reqwest::ClientBuilder, tls: &Tls) -> Result<reqwest::ClientBuilder, ClientError> {
    let read = |path: &std::path::Path| {
        std::fs::read(path).map_err(|cause| ClientError::Read { path: path.display().to_string(), cause })
    };
    let refused = |path: &std::path::Path| {
        let what = path.display().to_string();
        move |error: reqwest::Error| ClientError::Refused { what, reason: reason_of(&error) }
    };
    let mut builder = builder.danger_accept_invalid_certs(tls.is_unverified);
    if let Some(path) = &tls.authorities {
        for certificate in Certificate::from_pem_bundle(&read(path)?).map_err(refused(path))? {
            builder = builder.add_root_certificate(certificate);
        }
    }
    if let Some(path) = &tls.identity {
        builder = builder.identity(Identity::from_pem(&read(path)?).map_err(refused(path))?);
    }
    Ok(builder)
}

/// Follows within the server that was asked only: another one was not configured, and would see the token.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let origin = |url: &Url| url.origin();
    let is_same = attempt.previous().first().is_some_and(|first| origin(first) == origin(attempt.url()));
    if !is_same {
        let to = attempt.url().origin().ascii_serialization();
        return attempt.error(Elsewhere(to));
    }
    if attempt.previous().len() > REDIRECTS_MAX { attempt.stop() } else { attempt.follow() }
}

#[derive(Debug, thiserror::Error)]
#[error("leads to {0}")]
struct Elsewhere(String);

async fn body(response: &mut Response, bytes_max: u64) -> Result<Vec<u8>, AskError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| AskError::Broken(reason_of(&error.without_url())))? {
        if body.len() as u64 + chunk.len() as u64 > bytes_max {
            return Err(AskError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn failed(error: reqwest::Error) -> AskError {
    // Its address may hold what a user would not show.
    let error = error.without_url();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        if let Some(Elsewhere(to)) = inner.downcast_ref() {
            return AskError::LedElsewhere { to: to.clone() };
        }
        cause = inner.source();
    }
    if error.is_timeout() && error.is_connect() {
        return AskError::Unreachable(format!("none within {CONNECT_SECONDS_MAX:.0} s"));
    }
    if error.is_connect() { AskError::Unreachable(reason_of(&error)) } else { AskError::Broken(reason_of(&error)) }
}

/// Returns the innermost cause: the outer ones only say that something failed.
fn reason_of(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

fn seconds_until(deadline: Instant) -> f64 {
    deadline.saturating_duration_since(Instant::now()).as_secs_f64()
}

/// Between a half and one and a half: many clients that were turned away together do not come back together.
fn jitter() -> f64 {
    let nanoseconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    0.5 + f64::from(nanoseconds % 1_000) / 1_000.0
}
