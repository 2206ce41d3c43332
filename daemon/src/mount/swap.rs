//! Whether what is in memory can be written to a disk that nobody encrypts.
//!
//! Only the master key is locked in memory: caches and dirty pages are too much for that, so where
//! they can go is for the machine's owner to decide, and for us to tell.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// Where the system puts memory that it needs for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Swap {
    /// Nowhere, or in compressed memory.
    None,
    /// On encrypted devices.
    Encrypted,
    /// In a file or on a device of which that is not known.
    Exposed,
}

impl Swap {
    /// What is in use now.
    pub(crate) fn now() -> Self {
        let table = fs::read_to_string("/proc/swaps").unwrap_or_default();
        Self::of(&table, &|device| {
            let real = fs::canonicalize(device).ok();
            let name = real.as_deref().and_then(Path::file_name)?;
            fs::read_to_string(Path::new("/sys/block").join(name).join("dm/uuid")).ok()
        })
    }

    /// What the table of `/proc/swaps` says; `mapping` tells the uuid of a mapped device.
    fn of(table: &str, mapping: &dyn Fn(&Path) -> Option<String>) -> Self {
        let places = table
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next());
        places
            .map(|place| {
                if place.starts_with("/dev/zram") {
                    Self::None
                } else if mapping(Path::new(place)).is_some_and(|id| id.starts_with("CRYPT-")) {
                    Self::Encrypted
                } else {
                    Self::Exposed
                }
            })
            .max()
            .unwrap_or(Self::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

    fn of(places: &[&str]) -> Swap {
        let line = |place: &&str| format!("{place} partition\t8388604\t0\t-2\n");
        let table: String = places.iter().map(line).collect();
        Swap::of(&(HEAD.to_owned() + &table), &|device| {
            let id = match device.to_str()? {
                "/dev/dm-1" => "CRYPT-LUKS2-0123-swap",
                "/dev/dm-2" => "LVM-0123",
                _ => return None,
            };
            Some(id.to_owned())
        })
    }

    #[test]
    fn swap_is_exposed_unless_all_of_it_is_known_to_be_encrypted() {
        assert_eq!(of(&[]), Swap::None);
        assert_eq!(of(&["/dev/zram0"]), Swap::None);
        assert_eq!(of(&["/dev/zram0", "/dev/dm-1"]), Swap::Encrypted);
        assert_eq!(of(&["/dev/dm-1", "/dev/dm-2"]), Swap::Exposed);
        assert_eq!(of(&["/dev/sda2"]), Swap::Exposed);
        assert_eq!(of(&["/swapfile"]), Swap::Exposed);
        assert_eq!(Swap::of("", &|_| None), Swap::None);
    }
}
