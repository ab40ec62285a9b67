//! Messages to an address of the user's, one POST each, in their order.

use std::thread::JoinHandle;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response};
use url::Url;

use super::messages::{Heard, Messages};

const TIME_LIMIT: Duration = Duration::from_secs(10);
const TRIES: u32 = 4;
const TRIED_AGAIN_AFTER: Duration = Duration::from_millis(500);
const WAKES_EVERY: Duration = Duration::from_millis(500);

/// What k6's own API takes as the wish to end its test, by PATCH.
const K6_STOP: &str = r#"{"data":{"type":"status","id":"default","attributes":{"stopped":true}}}"#;
const K6_STATUS: &str = "/v1/status";

/// Posts each message until there are no more; one that is refused is tried again, then given up and logged.
pub fn post_all(address: Url, messages: &Messages) -> std::io::Result<JoinHandle<()>> {
    let given_up = "a message was given up by the webhook";
    for_each(messages, given_up, move |client, message| client.post(address.clone()).body(message.to_owned()))
}

/// Asks for the end of a test with each message: k6 by its own API, where the address is that, or whoever takes a POST.
pub fn abort_all(address: Url, messages: &Messages) -> std::io::Result<JoinHandle<()>> {
    if address.path() == K6_STATUS {
        let given_up = "k6 was not asked to end: it listens only when it was started with --address";
        return for_each(messages, given_up, move |client, _| client.patch(address.clone()).body(K6_STOP));
    }
    post_all(address, messages)
}

/// `given_up`: what is logged of a message that nobody took.
fn for_each(
    messages: &Messages,
    given_up: &'static str,
    request: impl Fn(&Client, &str) -> RequestBuilder + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let listener = messages.listen();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::builder().timeout(TIME_LIMIT).build().map_err(std::io::Error::other)?;
    let thread = std::thread::Builder::new().name("webhook".to_owned());
    thread.spawn(move || {
        loop {
            match listener.next(WAKES_EVERY) {
                Heard::Message(message) => runtime.block_on(send(given_up, || request(&client, &message))),
                Heard::Lost(count) => tracing::warn!(count, "messages were lost: the webhook is too slow"),
                Heard::Nothing => {}
                Heard::End => return,
            }
        }
    })
}

async fn send(given_up: &str, request: impl Fn() -> RequestBuilder) {
    let mut wait = TRIED_AGAIN_AFTER;
    for attempt in 1..=TRIES {
        let request = request().header("content-type", "application/json");
        let failure = match request.send().await.and_then(Response::error_for_status) {
            Ok(_) => return,
            // The address may hold a secret.
            Err(error) => error.without_url(),
        };
        let is_final = failure.status().is_some_and(|status| status.is_client_error() && status.as_u16() != 429);
        if is_final || attempt == TRIES {
            tracing::warn!(error = %failure, "{given_up}");
            return;
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// Answers each request with the next status, and returns what was asked.
    fn answering(statuses: &'static [u16]) -> (Url, JoinHandle<Vec<(String, String)>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let thread = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for status in statuses {
                let (stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(&stream);
                let (mut first, mut length) = (String::new(), 0);
                reader.read_line(&mut first).unwrap();
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    if line.trim().is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                write!(&stream, "HTTP/1.1 {status} -\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
                asked.push((first.trim().to_owned(), String::from_utf8(body).unwrap()));
            }
            asked
        });
        (address, thread)
    }

    #[test]
    fn each_message_is_posted_and_tried_again_when_the_server_fails() {
        let (address, server) = answering(&[503, 200, 404, 200]);
        let messages = Messages::default();
        let posting = post_all(address, &messages).unwrap();
        ["a", "refused", "b"].iter().for_each(|message| messages.tell(message));
        messages.end();
        posting.join().unwrap();
        let bodies: Vec<String> = server.join().unwrap().into_iter().map(|(_, body)| body).collect();
        assert_eq!(bodies, ["a", "a", "refused", "b"]);
    }

    #[test]
    fn k6_is_asked_to_stop_by_its_own_api() {
        let (address, server) = answering(&[200]);
        let messages = Messages::default();
        let aborting = abort_all(address.join(K6_STATUS).unwrap(), &messages).unwrap();
        messages.tell("a finding");
        messages.end();
        aborting.join().unwrap();
        let asked = server.join().unwrap();
        assert_eq!(asked, [("PATCH /v1/status HTTP/1.1".to_owned(), K6_STOP.to_owned())]);
    }
}
