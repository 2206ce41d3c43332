//! Content of test files: random looking, the same for the same seed.

use std::time::{SystemTime, UNIX_EPOCH};

/// A small random generator (splitmix64, Vigna 2015) whose seed is printed, so that a failure
/// can be repeated with `KEYFOLD_SEED=N`.
#[derive(Debug)]
pub struct Seeded {
    state: u64,
}

impl Seeded {
    /// A generator seeded by the clock, or by `KEYFOLD_SEED`.
    pub fn new() -> Self {
        let clock = || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            now.map_or(1, |now| now.as_nanos() as u64)
        };
        let seed = match std::env::var("KEYFOLD_SEED") {
            Ok(text) => text.parse().expect("KEYFOLD_SEED is a number"),
            Err(_) => clock(),
        };
        println!("seed: repeat with KEYFOLD_SEED={seed}");
        Self::from_seed(seed)
    }

    /// A generator with this seed.
    pub fn from_seed(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next_u64() % limit
    }
}

impl Default for Seeded {
    fn default() -> Self {
        Self::new()
    }
}

/// `len` bytes that differ between seeds, and from block to block.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Seeded::from_seed(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&random.next_u64().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
