//! Rows of kept metadata images.

use super::BadLayout;
use super::bytes::{Reader, Writer};
use crate::vfs::Timestamp;

/// A kept image; numbers rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(pub u32);

impl ImageId {
    /// The highest number: a mount shows the files of images by inode numbers that hold it.
    pub const LAST: u32 = (1 << 19) - 2;
}

impl std::fmt::Display for ImageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Why an image is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageKind {
    /// Made by the program itself; goes when a newer one takes its place, or space is wanted.
    Automatic,
    /// Asked for; stays until somebody deletes it.
    Snapshot,
    /// Stays while a backup copies the vault.
    Hold,
}

impl ImageKind {
    fn code(self) -> u32 {
        match self {
            Self::Automatic => 1,
            Self::Snapshot => 2,
            Self::Hold => 3,
        }
    }

    fn from_code(code: u32) -> Option<Self> {
        [Self::Automatic, Self::Snapshot, Self::Hold]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// What an image is a copy of: `kind(4) commit(8) state hash(32) created(12)`, then its name.
///
/// The commit that an image shows has its row already, so that the image knows its own name; but
/// not itself: commit and hash are 0 there, and until the image is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// Why it is kept.
    pub kind: ImageKind,
    /// The commit that it shows.
    pub commit: u64,
    /// The state hash of that commit: a copy of another state is not this image.
    pub hash: [u8; 32],
    /// When it was made.
    pub created: Timestamp,
    /// Its name, which no other image has.
    pub name: String,
}

impl ImageRow {
    /// Whether the image is whole: a row that is not is of one that is being made.
    pub fn is_whole(&self) -> bool {
        self.commit != 0
    }

    /// Longest name, in bytes.
    pub const NAME_MAX: usize = 64;

    /// Whether an image can have this name: it is one of a directory, and can be typed.
    pub fn is_name(name: &str) -> bool {
        (1..=Self::NAME_MAX).contains(&name.len())
            && !name.starts_with('.')
            && !name.contains('/')
            && !name.contains(char::is_control)
    }

    /// Its bytes.
    pub fn encode(&self) -> Box<[u8]> {
        let mut w = Writer::default();
        w.u32(self.kind.code());
        w.u64(self.commit);
        w.bytes(&self.hash);
        w.time(self.created);
        w.bytes(self.name.as_bytes());
        w.done()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = Reader(bytes);
        let row = Self {
            kind: ImageKind::from_code(r.u32()?).ok_or(BadLayout)?,
            commit: r.u64()?,
            hash: r.array()?,
            created: r.time()?,
            name: String::from_utf8(r.rest().to_vec()).map_err(|_| BadLayout)?,
        };
        if Self::is_name(&row.name) {
            Ok(row)
        } else {
            Err(BadLayout)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str) -> ImageRow {
        ImageRow {
            kind: ImageKind::Snapshot,
            commit: 7,
            hash: [3; 32],
            created: Timestamp { secs: -5, nanos: 9 },
            name: name.to_owned(),
        }
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        for name in ["before", "vor dem Urlaub", &"x".repeat(64)] {
            assert_eq!(ImageRow::decode(&row(name).encode()), Ok(row(name)));
        }
    }

    #[test]
    fn what_no_image_can_have_is_refused() {
        for name in ["", ".", "..", ".x", "a/b", "a\nb", "a\0", &"x".repeat(65)] {
            assert_eq!(ImageRow::decode(&row(name).encode()), Err(BadLayout));
        }
        let good = row("x").encode();
        for length in 0..good.len() {
            assert_eq!(ImageRow::decode(&good[..length]), Err(BadLayout));
        }
        for (at, byte) in [(0, 4), (0, 0), (1, 1), (56, 0xff)] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            assert_eq!(ImageRow::decode(&bytes), Err(BadLayout), "byte {at}");
        }
    }
}
