//! What is written to segments.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;

use keyfold_recorder::{Node, Step};

fn is_segment(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.len() >= 6 && name.iter().all(u8::is_ascii_digit)
}

/// Checks that no byte of a segment was written a second time, so no slot was either: a write that a
/// full disk cut short may go on within one. Returns how many bytes were written.
pub fn none_is_written_twice(steps: &[Step]) -> u64 {
    let mut segments = BTreeSet::new();
    // The end of what was written from an offset on.
    let mut written = BTreeMap::<(Node, u64), u64>::new();
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::Create { name, file, .. } if is_segment(name) => {
                segments.insert(*file);
            }
            Step::Write { file, offset, data } if segments.contains(file) => {
                let end = offset + data.len() as u64;
                let before = written.range((*file, 0)..(*file, end)).next_back();
                let free = before.is_none_or(|(_, before)| before <= offset);
                assert!(free, "step {at}: {}", step.shown());
                written.insert((*file, *offset), end);
            }
            _ => {}
        }
    }
    let lengths = written.iter().map(|((_, offset), end)| end - offset);
    lengths.sum()
}
