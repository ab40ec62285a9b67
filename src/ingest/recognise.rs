//! What an input is, by its content: a file's name is never asked.

use memchr::memmem;

/// What the first bytes of an input show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recognised {
    /// Lines of k6's JSON output.
    Json,
    /// k6's CSV output.
    Csv,
    /// One JSON object that may be one of k6's summaries.
    Object,
    /// Something else: what it looks like.
    Other(&'static str),
}

/// Bytes that are enough to recognise an input.
pub const HEAD_BYTES: usize = 64 << 10;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Recognises an input by its first bytes, decompressed. `head`: up to `HEAD_BYTES`.
pub fn recognise(head: &[u8]) -> Recognised {
    let head = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head).trim_ascii_start();
    if head.is_empty() {
        return Recognised::Other("nothing: it is empty");
    }
    let first_line = head.split(|byte| *byte == b'\n').next().unwrap_or(head);
    if is_csv_header(first_line) {
        return Recognised::Csv;
    }
    // A damaged line or a greeting may come first; k6's lines then follow soon.
    if head.split(|byte| *byte == b'\n').any(is_k6_line) {
        return Recognised::Json;
    }
    if head.starts_with(b"{") && (first_line.trim_ascii_end() == b"{" || names_summary(head)) {
        return Recognised::Object;
    }
    Recognised::Other(looks_like(head, first_line))
}

fn is_csv_header(line: &[u8]) -> bool {
    let has = |column: &[u8]| line.trim_ascii().split(|byte| *byte == b',').any(|name| name.trim_ascii() == column);
    has(b"metric_name") && has(b"timestamp") && has(b"metric_value")
}

/// Asks for k6's two words only: whether the line is whole is the decoder's question.
fn is_k6_line(line: &[u8]) -> bool {
    let has = |word: &[u8]| memmem::find(line, word).is_some();
    line.trim_ascii_start().starts_with(b"{") && has(b"\"type\"") && (has(b"\"Point\"") || has(b"\"Metric\""))
}

fn names_summary(head: &[u8]) -> bool {
    [&b"\"metrics\""[..], b"\"root_group\"", b"\"results\""].iter().any(|key| memmem::find(head, key).is_some())
}

fn looks_like(head: &[u8], first_line: &[u8]) -> &'static str {
    let begins = |start: &[u8]| head.len() >= start.len() && head[..start.len()].eq_ignore_ascii_case(start);
    let names = |word: &[u8]| memmem::find(head, word).is_some();
    if begins(b"PAR1") {
        return "a Parquet file";
    }
    if begins(b"PK\x03\x04") {
        return "a zip archive: unpack it first";
    }
    if begins(b"\x1f\x8b") || begins(b"\x28\xb5\x2f\xfd") {
        return "a file that was compressed twice";
    }
    if begins(b"<!doctype html") || begins(b"<html") {
        return "an HTML page";
    }
    if begins(b"<") {
        return "XML";
    }
    if first_line.starts_with(b"timeStamp,elapsed") {
        return "JMeter's CSV results";
    }
    if names(b"checks_total") || names(b"execution: local") || names(b"iteration_duration..") {
        return "what k6 prints for people: give it `--out json=FILE` or `--summary-export=FILE`";
    }
    if names(b"from 'k6") || names(b"from \"k6") {
        return "a k6 script: run it with `k6 run --out json=FILE` and give that file";
    }
    if begins(b"{") || begins(b"[") {
        return "JSON of another program";
    }
    if memchr::memchr(0, head).is_some()
        || std::str::from_utf8(&head[..head.len().min(1024) & !3]).is_err() && !head.is_ascii()
    {
        return "binary data";
    }
    "text of another program"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(head: impl AsRef<[u8]>, expected: Recognised) {
        assert_eq!(recognise(head.as_ref()), expected);
    }

    #[test]
    fn by_content() {
        check(r#"{"metric":"vus","type":"Point","data":{}}"#, Recognised::Json);
        check("garbage\n{\"type\":\"Metric\"", Recognised::Json);
        check(r#" { "data" : {}, "metric":"vus", "type" : "Point"}"#, Recognised::Json);
        check("metric_name,timestamp,metric_value,check\r\n", Recognised::Csv);
        check("\u{feff}timestamp,metric_name,metric_value", Recognised::Csv);
        check("{\n  \"metrics\": {", Recognised::Object);
        check("{\"root_group\":{}}", Recognised::Object);
    }

    #[test]
    fn what_else_it_looks_like() {
        check("", Recognised::Other("nothing: it is empty"));
        check("<!DOCTYPE html>", Recognised::Other("an HTML page"));
        check([0u8; 64], Recognised::Other("binary data"));
        check("{\"log\":{}}", Recognised::Other("JSON of another program"));
        check("timeStamp,elapsed,label\n1,2,x", Recognised::Other("JMeter's CSV results"));
        check(
            "import http from 'k6/http';",
            Recognised::Other("a k6 script: run it with `k6 run --out json=FILE` and give that file"),
        );
        check("hello", Recognised::Other("text of another program"));
    }
}
