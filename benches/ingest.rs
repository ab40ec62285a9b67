//! The decoder and the decompressor alone, beside what they cannot be faster than: bytes a second over one file.
//!
//! `cargo bench --bench ingest -- k6.json [k6.json.gz ..]`; the medians of five readings each. What a whole analysis takes,
//! beside DuckDB, is measured by `benches/ingest.py`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use tidemark::ingest::bytes::{self, End};
use tidemark::ingest::k6_json::BlockStream;

const READINGS: usize = 5;

fn main() -> io::Result<()> {
    // Cargo adds options of its own.
    let files: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if files.is_empty() {
        println!("name k6 JSON files: cargo bench --bench ingest -- k6.json k6.json.gz");
    }
    for file in &files {
        let path = Path::new(file);
        let plain = measure(|| read_to_end(&mut File::open(path)?))?;
        report(file, "read", plain);
        report(file, "decompress", measure(|| read_to_end(&mut open(path)?))?);
        for decoders in [1, 2] {
            report(file, &format!("decode, {decoders} threads"), measure(|| decode(open(path)?, decoders))?);
        }
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    Ok(bytes::open(path, End::AtEnd, Arc::new(AtomicBool::new(false)))?.reader)
}

/// Returns bytes.
fn read_to_end(input: &mut dyn Read) -> io::Result<u64> {
    let mut buffer = vec![0; 512 << 10];
    let mut bytes = 0;
    loop {
        match input.read(&mut buffer)? {
            0 => return Ok(bytes),
            length => bytes += length as u64,
        }
    }
}

/// Returns samples.
fn decode(input: Box<dyn Read + Send>, decoders: usize) -> io::Result<u64> {
    let mut stream = BlockStream::start(input, decoders);
    let mut samples = 0;
    while let Some((_, block)) = stream.next_block() {
        samples += block.rows() as u64;
        stream.spent_blocks().give(block);
    }
    Ok(samples)
}

/// Returns what the last reading counted, and the median of their seconds.
fn measure(mut reading: impl FnMut() -> io::Result<u64>) -> io::Result<(u64, f64)> {
    let mut seconds = Vec::new();
    let mut counted = 0;
    for _ in 0..READINGS {
        let begin = Instant::now();
        counted = reading()?;
        seconds.push(begin.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok((counted, seconds[READINGS / 2]))
}

fn report(file: &str, what: &str, (counted, seconds): (u64, f64)) {
    println!("{file}: {what}: {counted} in {seconds:.3} s, {:.1} million/s", counted as f64 / 1e6 / seconds);
}
