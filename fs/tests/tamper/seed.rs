//! Numbers that look random, the same for the same seed, which is printed.

/// splitmix64 (Vigna 2015).
pub(crate) struct Seeded(u64);

impl Seeded {
    /// Seeded by the clock, or by `KEYFOLD_SEED`.
    pub(crate) fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = match std::env::var("KEYFOLD_SEED") {
            Ok(text) => text.parse().expect("KEYFOLD_SEED is a number"),
            Err(_) => now.map_or(1, |now| now.as_nanos() as u64),
        };
        println!("seed: repeat with KEYFOLD_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    /// `count` of the items, each at most once, in their order.
    pub(crate) fn sample<T>(&mut self, mut items: Vec<T>, count: usize) -> Vec<T> {
        while items.len() > count {
            let at = self.below(items.len() as u64) as usize;
            items.swap_remove(at);
        }
        items
    }
}
