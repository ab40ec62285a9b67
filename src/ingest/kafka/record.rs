//! A record's headers and payload to what it is, and back.

use std::borrow::Cow;

use memchr::memchr;
use memchr::memmem::Finder;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};

use crate::model::stream::{About, PodEnd};

const RUN: &str = "tidemark-run";
const POD: &str = "tidemark-pod";
const LINE: &str = "tidemark-line";
const ABOUT: &str = "tidemark-about";
const END: &str = "tidemark-end";

/// Names are shown, and are keys of the store's index.
const NAME_BYTES_MAX: usize = 256;

/// What a record is.
#[derive(Debug, PartialEq)]
pub enum Record<'m> {
    /// Numbered lines of `forward`; none beside a mark.
    Lines { run: &'m str, pod: &'m str, first_line: u64, about: Option<About>, end: Option<PodEnd> },
    /// One sample of k6's extension. `pod`: empty unless a tag tells.
    Point { run: Cow<'m, str>, pod: Cow<'m, str> },
}

/// Finds the tags that name the run and the pod of a Point.
#[derive(Debug)]
pub struct Tags {
    run: [Finder<'static>; 2],
    pod: Finder<'static>,
}

impl Default for Tags {
    fn default() -> Tags {
        // Within a string a quote has a backslash before it: these bytes are nowhere but at a member of that name.
        Tags {
            run: [Finder::new(b"\"testid\":\""), Finder::new(b"\"run_id\":\"")],
            pod: Finder::new(b"\"instance_id\":\""),
        }
    }
}

impl Tags {
    /// Returns the value of the member that `finder` finds.
    fn value<'m>(finder: &Finder, text: &'m [u8]) -> Option<Cow<'m, str>> {
        let begin = finder.find(text)? + finder.needle().len();
        let length = memchr(b'"', &text[begin..])?;
        let value = &text[begin..begin + length];
        if !value.contains(&b'\\') {
            return std::str::from_utf8(value).ok().map(Cow::Borrowed);
        }
        let mut values = serde_json::Deserializer::from_slice(&text[begin - 1..]).into_iter::<String>();
        values.next()?.ok().map(Cow::Owned)
    }

    /// Says what a record is, or why it is none of k6's. `topic`: stands for the run of a Point without a tag for it.
    pub fn record<'m>(&self, message: &'m BorrowedMessage<'m>, topic: &'m str) -> Result<Record<'m>, String> {
        let payload = message.payload().unwrap_or_default();
        match message.headers() {
            Some(headers) if headers.iter().any(|header| header.key == RUN) => of_headers(headers),
            _ => self.point(payload, topic),
        }
    }

    fn point<'m>(&self, payload: &'m [u8], topic: &'m str) -> Result<Record<'m>, String> {
        let first = payload.iter().find(|byte| !byte.is_ascii_whitespace());
        if first != Some(&b'{') {
            return Err(format!("{} bytes that are no JSON object, without the headers of forward", payload.len()));
        }
        let run = self.run.iter().find_map(|finder| Tags::value(finder, payload)).filter(|run| is_name(run));
        let pod = Tags::value(&self.pod, payload).filter(|pod| is_name(pod));
        Ok(Record::Point { run: run.unwrap_or(Cow::Borrowed(topic)), pod: pod.unwrap_or_default() })
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX
}

fn of_headers<H: Headers>(headers: &H) -> Result<Record<'_>, String> {
    let (mut run, mut pod, mut first_line, mut about, mut end) = (None, None, None, None, None);
    for Header { key, value } in headers.iter() {
        let text = || -> Result<&str, String> {
            let text = value.and_then(|value| std::str::from_utf8(value).ok());
            text.ok_or_else(|| format!("the header {key} is no text"))
        };
        let broken = |error: serde_json::Error| format!("the header {key} cannot be read: {error}");
        match key {
            RUN => run = Some(text()?),
            POD => pod = Some(text()?),
            LINE => {
                let number = text()?.parse().map_err(|_| format!("the header {LINE} is no number"))?;
                first_line = Some(number);
            }
            ABOUT => about = Some(serde_json::from_str(text()?).map_err(broken)?),
            END => end = Some(serde_json::from_str(text()?).map_err(broken)?),
            _ => {}
        }
    }
    let (run, pod) = (run.unwrap_or_default(), pod.unwrap_or_default());
    if !is_name(run) || !is_name(pod) {
        return Err(format!("{RUN} and {POD} must be names of 1 to {NAME_BYTES_MAX} bytes"));
    }
    let first_line = first_line.ok_or_else(|| format!("there is no header {LINE}"))?;
    Ok(Record::Lines { run, pod, first_line, about, end })
}

/// Returns the headers of a record of `forward`.
pub fn headers(run: &str, pod: &str, first_line: u64, about: Option<&About>, end: Option<&PodEnd>) -> OwnedHeaders {
    let json = |value: Result<String, serde_json::Error>| value.expect("labels and counts are JSON");
    let line = first_line.to_string();
    let mut headers = OwnedHeaders::new_with_capacity(5);
    let mut insert = |key: &str, value: &str| {
        let before = std::mem::take(&mut headers);
        headers = before.insert(Header { key, value: Some(value) });
    };
    insert(RUN, run);
    insert(POD, pod);
    insert(LINE, &line);
    if let Some(about) = about {
        insert(ABOUT, &json(serde_json::to_string(about)));
    }
    if let Some(end) = end {
        insert(END, &json(serde_json::to_string(end)));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let about = About { pods_count: Some(3), place: 2, ..About::default() };
        let end = PodEnd { lines_count: 7, is_cut: true, k6_exit_code: Some(99) };
        let written = headers("run 1", "pod/ü", 41, Some(&about), Some(&end));
        let read = of_headers(written.as_borrowed());
        let expected =
            Record::Lines { run: "run 1", pod: "pod/ü", first_line: 41, about: Some(about), end: Some(end) };
        assert_eq!(read, Ok(expected));
        let plain = headers("r", "p", 0, None, None);
        let expected = Record::Lines { run: "r", pod: "p", first_line: 0, about: None, end: None };
        assert_eq!(of_headers(plain.as_borrowed()), Ok(expected));
    }

    #[test]
    fn broken_headers_are_told() {
        let with = |pairs: &[(&str, &[u8])]| {
            let headers = OwnedHeaders::new();
            pairs.iter().fold(headers, |all, (key, value)| all.insert(Header { key, value: Some(*value) }))
        };
        type Pairs = [(&'static str, &'static [u8])];
        let cases: [(&Pairs, &str); 5] = [
            (&[(RUN, b"r"), (POD, b"p")], "no header tidemark-line"),
            (&[(RUN, b"r"), (POD, b"p"), (LINE, b"-1")], "no number"),
            (&[(RUN, b""), (POD, b"p"), (LINE, b"1")], "must be names"),
            (&[(RUN, b"\xff"), (POD, b"p"), (LINE, b"1")], "no text"),
            (&[(RUN, b"r"), (POD, b"p"), (LINE, b"1"), (END, b"{}")], "tidemark-end cannot be read"),
        ];
        for (pairs, expected) in cases {
            let headers = with(pairs);
            let error = of_headers(headers.as_borrowed()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_point_names_its_run_by_a_tag() {
        type Named = Option<(&'static str, &'static str)>;
        let cases: [(&str, Named); 6] = [
            (
                r#"{"type":"Point","data":{"tags":{"testid":"t-1","instance_id":"4"}},"metric":"vus"}"#,
                Some(("t-1", "4")),
            ),
            (r#"{"type":"Point","data":{"tags":{"run_id":"r-1"}},"metric":"vus"}"#, Some(("r-1", ""))),
            (r#"{"data":{"tags":{"name":"\"testid\":\"no\"","testid":"a\"b"}}}"#, Some(("a\"b", ""))),
            (r#"{"type":"Point"}"#, Some(("k6", ""))),
            ("\u{1}garbage", None),
            ("", None),
        ];
        for (payload, expected) in cases {
            let tags = Tags::default();
            let read = tags.point(payload.as_bytes(), "k6");
            match (read, expected) {
                (Ok(Record::Point { run, pod }), Some(expected)) => assert_eq!((&*run, &*pod), expected, "{payload}"),
                (read, expected) => assert_eq!(read.is_err(), expected.is_none(), "{payload}: {read:?}"),
            }
        }
    }
}
