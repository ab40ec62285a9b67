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
    for_each(messages, move |client, message| client.post(address.clone()).body(message.to_owned()))
}

/// Asks for the end of a test with each message: k6 by its own API, where the address is that, or whoever takes a POST.
pub fn abort_all(address: Url, messages: &Messages) -> std::io::Result<JoinHandle<()>> {
    if address.path() == K6_STATUS {
        return for_each(messages, move |client, _| client.patch(address.clone()).body(K6_STOP));
    }
    post_all(address, messages)
}

fn for_each(
    messages: &Messages,
    request: impl Fn(&Client, &str) -> RequestBuilder + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let listener = messages.listen();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::builder().timeout(TIME_LIMIT).build().map_err(std::io::Error::other)?;
    let thread = std::thread::Builder::new().name("webhook".to_owned());
    thread.spawn(move || {
        loop {
            match listener.next(WAKES_EVERY) {
                Heard::Message(message) => runtime.block_on(send(|| request(&client, &message))),
                Heard::Lost(count) => tracing::warn!(count, "messages were lost: the webhook is too slow"),
                Heard::Nothing => {}
                Heard::End => return,
            }
        }
    })
}

async fn send(request: impl Fn() -> RequestBuilder) {
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
            tracing::warn!(error = %failure, "a message was given up by the webhook");
            return;
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
}
