//! k6's machine-readable summary.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidemark_fuzz::{assert_same_as_handle_summary, read_and_judge};

fuzz_target!(|bytes: &[u8]| {
    if let Some(summary) = read_and_judge(bytes) {
        assert_same_as_handle_summary(&summary);
    }
});
