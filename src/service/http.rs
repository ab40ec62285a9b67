//! The door for machines: is it alive, is it at work, what are its figures, and its messages as they come.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::Stream;

use crate::engine::stream::counters::Counters;

use super::messages::{Heard, Listener, Messages};
use super::metrics;

/// A listener's message is handed on after so long, at the latest.
const HEARD_EVERY: Duration = Duration::from_millis(100);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, thiserror::Error)]
#[error("failed to listen at {address}")]
pub struct ListenError {
    address: SocketAddr,
    #[source]
    cause: std::io::Error,
}

#[derive(Clone)]
struct Served {
    counters: Arc<Counters>,
    messages: Messages,
    stop: Arc<AtomicBool>,
}

/// Serves until `stop` is set; returns where, since the system chooses port 0.
pub fn serve(
    address: SocketAddr,
    counters: Arc<Counters>,
    messages: Messages,
    stop: Arc<AtomicBool>,
) -> Result<SocketAddr, ListenError> {
    let failed = |cause| ListenError { address, cause };
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let served_at = listener.local_addr().map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let served = Served { counters, messages, stop };
    let thread = std::thread::Builder::new().name("http".to_owned());
    thread
        .spawn(move || {
            let stop = served.stop.clone();
            let router = Router::new()
                .route("/healthz", get(health))
                .route("/readyz", get(readiness))
                .route("/metrics", get(figures))
                .route("/events", get(events))
                .with_state(served);
            runtime.block_on(async {
                let listener = match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => listener,
                    Err(error) => return tracing::warn!(%error, "the door for machines is closed"),
                };
                let stopped = async move {
                    while !stop.load(Ordering::Relaxed) {
                        tokio::time::sleep(HEARD_EVERY).await;
                    }
                };
                if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
                    tracing::warn!(%error, "the door for machines is closed");
                }
            });
        })
        .map_err(failed)?;
    Ok(served_at)
}

async fn health() -> &'static str {
    "alive\n"
}

async fn readiness(State(served): State<Served>) -> Response {
    let reason = if served.stop.load(Ordering::Relaxed) {
        "it ends\n"
    } else if !served.counters.is_joined.load(Ordering::Relaxed) {
        "it has not joined its group yet\n"
    } else {
        return "at work\n".into_response();
    };
    (StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
}

async fn figures(State(served): State<Served>) -> Response {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], metrics::text(&served.counters)).into_response()
}

async fn events(State(served): State<Served>) -> impl IntoResponse {
    let listener = served.messages.listen();
    let stream = Heards { listener, messages: served.messages, pause: None };
    Sse::new(stream).keep_alive(KeepAlive::default())
}

/// A listener as a stream; it forgets itself when the other end goes.
struct Heards {
    listener: Listener,
    messages: Messages,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Stream for Heards {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                if pause.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.pause = None;
            }
            match self.listener.next(Duration::ZERO) {
                Heard::Message(message) => return Poll::Ready(Some(Ok(Event::default().data(&*message)))),
                Heard::Lost(count) => {
                    return Poll::Ready(Some(Ok(Event::default().event("lost").data(count.to_string()))));
                }
                Heard::End => return Poll::Ready(None),
                Heard::Nothing => self.pause = Some(Box::pin(tokio::time::sleep(HEARD_EVERY))),
            }
        }
    }
}

impl Drop for Heards {
    fn drop(&mut self) {
        self.messages.forget(&self.listener);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn health_figures_and_messages_are_served_until_the_end() {
        let (counters, messages, stop) = (Arc::default(), Messages::default(), Arc::new(AtomicBool::new(false)));
        let served_at =
            serve("127.0.0.1:0".parse().unwrap(), Arc::clone(&counters), messages.clone(), stop.clone()).unwrap();
        let ask = |path: &str| -> BufReader<TcpStream> {
            let mut stream = TcpStream::connect(served_at).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").unwrap();
            BufReader::new(stream)
        };
        let answer = |path: &str| -> String {
            let mut text = String::new();
            ask(path).read_to_string(&mut text).unwrap();
            text
        };
        assert!(answer("/healthz").starts_with("HTTP/1.1 200"));
        assert!(answer("/readyz").starts_with("HTTP/1.1 503"));
        counters.is_joined.store(true, Ordering::Relaxed);
        assert!(answer("/readyz").starts_with("HTTP/1.1 200"));
        let figures = answer("/metrics");
        assert!(figures.contains(OPEN_METRICS) && figures.contains("tidemark_stream_messages_total 0"), "{figures}");
        assert!(answer("/elsewhere").starts_with("HTTP/1.1 404"));
        let mut events = ask("/events");
        let mut line = String::new();
        // The listener is there when the head of the answer is.
        while line.trim() != "" || line.is_empty() {
            line.clear();
            events.read_line(&mut line).unwrap();
        }
        messages.tell("{\"event\":\"run_began\"}");
        messages.end();
        let mut rest = String::new();
        events.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("data: {\"event\":\"run_began\"}"), "{rest}");
        stop.store(true, Ordering::Relaxed);
    }
}
