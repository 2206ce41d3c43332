//! The line parsers of the program, driven with lines that nobody would write.
//!
//! They take text of other programs: a line of the control file, options of fstab. There is no
//! coverage to guide them by, so lines are made from those of the corpus by cutting, joining and
//! changing them. `KEYFOLD_FUZZ_SECONDS` makes it last; `KEYFOLD_SEED` repeats it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::control::Command;
use crate::mount::external;
use crate::mount::options::{MountOptions, parse_duration};

/// Lines that are made where no time is set.
const LINES: u32 = 20_000;
/// Pieces that mean something to one parser or another.
const PIECES: [&str; 24] = [
    "'",
    "\"",
    "\\",
    ",",
    "=",
    "{",
    "}",
    ":",
    "[",
    "\0",
    "\n",
    " ",
    "-o",
    "--",
    "status",
    "check",
    "sync",
    "--read-data",
    "\"command\"",
    "idle=",
    "18446744073709551616",
    "1h",
    "\u{202e}",
    "é",
];

/// splitmix64 (Vigna 2015).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit.max(1) as u64) as usize
    }

    /// A line made from some of `lines`.
    fn line(&mut self, lines: &[String]) -> String {
        let mut text: Vec<char> = lines[self.below(lines.len())].chars().collect();
        for _ in 0..=self.below(6) {
            let at = self.below(text.len() + 1);
            let end = at + self.below(text.len() - at + 1);
            match self.below(5) {
                0 => drop(text.drain(at..end)),
                1 => drop(text.splice(at..at, PIECES[self.below(PIECES.len())].chars())),
                2 => drop(text.splice(at..end, lines[self.below(lines.len())].chars())),
                3 => {
                    let piece = text[at..end].to_vec();
                    text.splice(at..at, piece);
                }
                _ => text.insert(at, char::from(self.below(128) as u8)),
            }
            text.truncate(4096);
        }
        text.into_iter().collect()
    }
}

fn drive(target: &str, parse: impl Fn(&str)) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fuzz/corpus")
        .join(target);
    let files = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let lines: Vec<String> = files
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    assert!(!lines.is_empty(), "{target} has no corpus");
    for line in &lines {
        parse(line);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = match std::env::var("KEYFOLD_SEED") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => now.as_nanos() as u64,
    };
    println!("seed: repeat with KEYFOLD_SEED={seed}");
    let mut random = Seeded(seed);
    let seconds = std::env::var("KEYFOLD_FUZZ_SECONDS").ok();
    let until = seconds.map(|s| Instant::now() + Duration::from_secs(s.parse().unwrap()));
    let mut made = 0_u64;
    while until.map_or(made < u64::from(LINES), |until| Instant::now() < until) {
        let line = random.line(&lines);
        let parsed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| parse(&line)));
        assert!(parsed.is_ok(), "{target} fails on {line:?}");
        made += 1;
    }
    println!("{target}: {made} lines");
}

#[test]
fn control_line() {
    drive("control-line", |line| {
        if let Ok(command) = Command::parse(line) {
            let again = command.line().clone();
            assert_eq!(Command::parse(&again), Ok(command));
        }
    });
}

#[test]
fn mount_options() {
    drive("mount-options", |line| {
        let mut options = MountOptions::default();
        if options.apply_list(line).is_ok() {
            // Applying them again changes nothing.
            let before = options.clone();
            assert!(options.apply_list(line).is_ok());
            assert_eq!(options, before);
        }
        let _ = parse_duration(line);
    });
}

#[test]
fn mount_helper() {
    drive("mount-helper", |line| {
        let words = line.split(' ').map(std::ffi::OsString::from);
        let _ = external::translate(words);
    });
}
