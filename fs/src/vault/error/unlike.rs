//! How a vault can differ from what was last seen of it.

use std::fmt;
use std::path::PathBuf;

use crate::vault::Revision;

/// How a vault differs from what was last seen of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unlike {
    /// Its last commit is older than the one seen.
    OlderState {
        /// Number of its last commit.
        found: u64,
        /// Number of the commit that was seen.
        seen: u64,
    },
    /// Its last commit has the number of the one seen, and other content.
    OtherState(u64),
    /// Its superblock is older than the one seen: passwords that were changed or removed may open
    /// it again.
    OlderSuperblock {
        /// Its revision.
        found: Revision,
        /// The revision that was seen.
        seen: Revision,
    },
    /// Its superblock has the revision of the one seen, and other key slots.
    OtherSuperblock(Revision),
    /// Another vault was last seen at this path; carries its id.
    OtherVault(String),
    /// What was kept of it cannot be read; carries the file.
    PinDamaged(PathBuf),
}

impl fmt::Display for Unlike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OlderState { found, seen } => write!(
                f,
                "is older than when it was last seen: its last commit is {found}, and {seen} was \
                 seen"
            ),
            Self::OtherState(commit) => write!(
                f,
                "is another than when it was last seen: its commit {commit} has other content"
            ),
            Self::OlderSuperblock { found, seen } => write!(
                f,
                "has older key slots than when it was last seen: their revision is {}, and {} was \
                 seen, so passwords that were changed since may open it again",
                found.0, seen.0
            ),
            Self::OtherSuperblock(revision) => write!(
                f,
                "has other key slots than when it was last seen, of the same revision {}",
                revision.0
            ),
            Self::OtherVault(seen) => {
                write!(
                    f,
                    "is not the one that was last seen here, which was {seen}"
                )
            }
            Self::PinDamaged(pin) => write!(
                f,
                "cannot be compared with what was last seen of it: {} is damaged",
                pin.display()
            ),
        }
    }
}
