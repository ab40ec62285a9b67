//! A history from the CSV that Apache Otava reads: a row a run, with its time, its attributes and its metrics.
//!
//! The first row names the columns. Which of them is the time, and which are attributes, stands in Otava's own
//! configuration; here it is given, and every other column whose cells are numbers is a metric. Otava takes any time that
//! Python's `dateparser` knows: here it is RFC 3339, a date with `-`, `.` or `/` and a time of day behind it, or seconds
//! since 1970. A time without a zone is UTC; Otava takes the machine's.
//!
//! A row that cannot be used is counted with its line and reason and ends nothing.

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use crate::model::history_table::{Column, HistoryTable};
use crate::model::time::{NANOSECONDS_PER_SECOND, Timestamp};

/// What Otava's configuration says of such a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout<'n> {
    pub delimiter: u8,
    pub quote: u8,
    pub time_column: &'n str,
    /// Columns that are no metrics although their cells may be numbers; those that the file lacks are passed over.
    pub attributes: &'n [&'n str],
}

/// Otava's defaults, and the attributes that its other sources have.
impl Default for Layout<'_> {
    fn default() -> Self {
        Layout {
            delimiter: b',',
            quote: b'"',
            time_column: "time",
            attributes: &["run", "branch", "version", "commit"],
        }
    }
}

/// Why a file is no history.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum OtavaCsvError {
    #[error("the file is empty")]
    Empty,
    #[error("no column is named {time_column}; there are {columns}")]
    NoTime { time_column: String, columns: String },
    #[error("no column holds numbers in any row; there are {columns}")]
    NoMetric { columns: String },
}

/// A history, and what could not be read of it.
#[derive(Debug, PartialEq)]
pub struct OtavaCsv {
    pub table: HistoryTable,
    /// Line, from 1, and reason.
    pub rejections: Vec<(u64, String)>,
}

/// Reads a history; rows are put in the order of their times, those of one time stay in their own.
pub fn read(text: &str, layout: &Layout) -> Result<OtavaCsv, OtavaCsvError> {
    let mut records = records(text.strip_prefix('\u{feff}').unwrap_or(text), layout).into_iter();
    let header = records.next().ok_or(OtavaCsvError::Empty)?.cells;
    let columns = || header.join(", ");
    let time_at = header.iter().position(|name| name == layout.time_column);
    let time_column = || layout.time_column.to_owned();
    let time_at = time_at.ok_or_else(|| OtavaCsvError::NoTime { time_column: time_column(), columns: columns() })?;
    let (mut rows, mut rejections) = (Vec::new(), Vec::new());
    for Record { line, cells } in records {
        if cells.len() < header.len() {
            rejections.push((line, format!("it has {} cells, the first row has {}", cells.len(), header.len())));
        } else if let Some(time) = time(cells[time_at].trim()) {
            rows.push((time, line, cells));
        } else {
            rejections.push((line, format!("its time {:?} is in no form that is known", cells[time_at])));
        }
    }
    rows.sort_by_key(|(time, ..)| *time);
    let mut table = HistoryTable { times: rows.iter().map(|(time, ..)| *time).collect(), ..HistoryTable::default() };
    for (at, name) in header.iter().enumerate().filter(|(at, name)| *at != time_at && !name.is_empty()) {
        let cells = || rows.iter().map(|(.., cells)| cells[at].trim());
        let numbers: Vec<Option<f64>> = cells().map(number).collect();
        if layout.attributes.contains(&name.as_str()) || numbers.iter().all(Option::is_none) {
            let texts = cells().map(|cell| (!cell.is_empty()).then(|| cell.to_owned())).collect();
            table.attributes.push(Column { name: name.clone(), cells: texts });
            continue;
        }
        let is_no_number = |(.., cells): &&(Timestamp, u64, Vec<String>)| {
            !is_absent(cells[at].trim()) && number(cells[at].trim()).is_none()
        };
        let wrong = rows.iter().filter(is_no_number);
        rejections.extend(wrong.map(|(_, line, cells)| (*line, format!("{name} {:?} is no number", cells[at]))));
        table.metrics.push(Column { name: name.clone(), cells: numbers });
    }
    if table.metrics.is_empty() {
        return Err(OtavaCsvError::NoMetric { columns: columns() });
    }
    rejections.sort_by_key(|(line, _)| *line);
    Ok(OtavaCsv { table, rejections })
}

struct Record {
    line: u64,
    cells: Vec<String>,
}

fn records(text: &str, layout: &Layout) -> Vec<Record> {
    let mut reader = ReaderBuilder::new().delimiter(layout.delimiter).quote(layout.quote).build();
    let (mut input, mut line, mut records) = (text.as_bytes(), 1, Vec::new());
    // Both grow as they are needed.
    let (mut bytes, mut ends) = (vec![0; 1 << 10], vec![0; 1 << 6]);
    loop {
        // The parser ends a record at its `\r` and passes over empty lines without a record, so lines are counted here.
        let empty = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        line += lines_count(&input[..empty]);
        input = &input[empty..];
        let before = input;
        let Some((bytes_count, ends_count)) = record(&mut reader, &mut input, &mut bytes, &mut ends) else {
            return records;
        };
        let starts = [0].into_iter().chain(ends[..ends_count].iter().copied());
        let cells = starts.zip(&ends[..ends_count]).map(|(start, end)| &bytes[start..(*end).min(bytes_count)]);
        // The text is UTF-8, and is cut only where an ASCII character was.
        let cells = cells.map(|cell| String::from_utf8_lossy(cell).into_owned()).collect();
        records.push(Record { line, cells });
        line += lines_count(&before[..before.len() - input.len()]);
    }
}

fn lines_count(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Reads one record; returns how many bytes and how many ends of cells it has, or none at the end.
fn record(
    reader: &mut Reader,
    input: &mut &[u8],
    bytes: &mut Vec<u8>,
    ends: &mut Vec<usize>,
) -> Option<(usize, usize)> {
    let (mut bytes_count, mut ends_count) = (0, 0);
    loop {
        let (result, read, written, ended) =
            reader.read_record(input, &mut bytes[bytes_count..], &mut ends[ends_count..]);
        *input = &input[read..];
        (bytes_count, ends_count) = (bytes_count + written, ends_count + ended);
        match result {
            ReadRecordResult::Record => return Some((bytes_count, ends_count)),
            ReadRecordResult::End => return None,
            // At the end of the text the next reading closes the last record.
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::OutputFull => bytes.resize(2 * bytes.len(), 0),
            ReadRecordResult::OutputEndsFull => ends.resize(2 * ends.len(), 0),
        }
    }
}

fn is_absent(cell: &str) -> bool {
    ["", "null", "none", "nan"].iter().any(|absent| cell.eq_ignore_ascii_case(absent))
}

fn number(cell: &str) -> Option<f64> {
    cell.parse().ok().filter(|number: &f64| number.is_finite())
}

fn time(cell: &str) -> Option<Timestamp> {
    if let Some(seconds) = number(cell) {
        // A year alone would be a number, too, and is no time of a run.
        let nanoseconds = seconds * NANOSECONDS_PER_SECOND as f64;
        return (1e8..9e9).contains(&seconds).then_some(Timestamp(nanoseconds as i64));
    }
    let cell = cell.strip_suffix(" UTC").or_else(|| cell.strip_suffix(" Z")).unwrap_or(cell);
    let date_length = cell.find(['T', ' ']).unwrap_or(cell.len());
    let text = cell[..date_length].replace(['.', '/'], "-") + &cell[date_length..].replacen('T', " ", 1);
    let with_zone = ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f %#z", "%Y-%m-%d %H:%M %#z"];
    let without_zone = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"];
    let zoned = with_zone.iter().find_map(|form| DateTime::parse_from_str(&text, form).ok());
    let naive = || without_zone.iter().find_map(|form| NaiveDateTime::parse_from_str(&text, form).ok());
    let date = || NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    let utc = zoned.map(|time| time.to_utc()).or_else(|| naive().or_else(date).map(|time| time.and_utc()))?;
    utc.timestamp_nanos_opt().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sample of Apache Otava's repository, `examples/csv/data/local_sample.csv`, its first three rows.
    const SAMPLE: &str = "time,commit,metric1,metric2\n2026.01.01 3:00:00 +0100,aaa0,154023,10.43\n\
                          2026.01.02 3:00:00 +0100,aaa1,138455,10.23\n2026.01.03 3:00:00 +0100,aaa2,143112,10.29\n";

    #[test]
    fn otavas_own_sample() {
        let OtavaCsv { table, rejections } = read(SAMPLE, &Layout::default()).unwrap();
        assert_eq!(rejections, []);
        assert_eq!(table.times[0].to_string(), "2026-01-01T02:00:00Z");
        assert_eq!(
            table.attributes,
            [Column { name: "commit".into(), cells: ["aaa0", "aaa1", "aaa2"].map(|c| Some(c.into())).into() }]
        );
        assert_eq!(
            table.metrics[0],
            Column { name: "metric1".into(), cells: vec![Some(154023.0), Some(138455.0), Some(143112.0)] }
        );
        assert_eq!(table.metrics[1].cells, [Some(10.43), Some(10.23), Some(10.29)]);
    }

    fn check_time(cell: &str, expected: Option<&str>) {
        assert_eq!(time(cell).map(|time| time.to_string()).as_deref(), expected, "{cell}");
    }

    #[test]
    fn times() {
        let at_two = Some("2024-01-01T02:00:00Z");
        for cell in [
            "2024-01-01 02:00:00 +0000",
            "2024-01-01T03:00:00+01:00",
            "2024-01-01T02:00:00Z",
            "2024.01.01 3:00:00 +0100",
            "2024/01/01 02:00",
            "2024-01-01 02:00:00 UTC",
            "1704074400",
            "1704074400.0",
        ] {
            check_time(cell, at_two);
        }
        check_time("2024-01-01", Some("2024-01-01T00:00:00Z"));
        check_time("2024-01-01 02:00:00.25 +0000", Some("2024-01-01T02:00:00.250Z"));
        ["", "2024", "yesterday", "NaN", "1e300", "2024-13-01", "9999-01-01"]
            .iter()
            .for_each(|cell| check_time(cell, None));
    }

    fn check_metrics(text: &str, layout: &Layout, names: &[&str], runs: usize, rejected_lines: &[u64]) {
        let OtavaCsv { table, rejections } = read(text, layout).unwrap();
        assert_eq!(table.metrics.iter().map(|column| &column.name).collect::<Vec<_>>(), names, "{text:?}");
        assert_eq!(table.times.len(), runs, "{text:?}");
        assert_eq!(rejections.iter().map(|(line, _)| *line).collect::<Vec<_>>(), rejected_lines, "{text:?}");
    }

    #[test]
    fn bad_rows_and_other_layouts() {
        let plain = Layout::default();
        // A commit may look like a number; an empty cell is a gap; words are refused; rows are put in order.
        check_metrics(
            "time,commit,p95\n1704074400,123,\n1704074401,124,2\n1704074402,125,fast",
            &plain,
            &["p95"],
            3,
            &[4],
        );
        check_metrics("time,p95\n1704074400,1\nsoon,2\n1704074401\n\n1704074402,3\n", &plain, &["p95"], 2, &[3, 4]);
        check_metrics(
            "time,host,p95\r\n1704074400,\"a,\"\"b\"\r\n1704074400,\"a,\nb\",2\r\n",
            &plain,
            &["p95"],
            1,
            &[2],
        );
        let other = Layout { delimiter: b';', quote: b'\'', time_column: "when", attributes: &["build"] };
        check_metrics("when;build;'a;b'\n1704074400;7;1,5\n1704074401;8;2.5", &other, &["a;b"], 2, &[2]);
        let names = |text| read(text, &plain).map(|_| ()).unwrap_err();
        assert_eq!(names(""), OtavaCsvError::Empty);
        assert!(matches!(names("when,p95\n1704074400,1"), OtavaCsvError::NoTime { .. }));
        assert!(matches!(names("time,p95\n1704074400,x"), OtavaCsvError::NoMetric { .. }));
    }
}
