//! What comes of a record.

use crate::ids::{RecordHash, Seq};
use crate::operation::ContentBody;
use crate::record::Author;
use crate::roster::Role;
use crate::snapshot::SnapshotBody;

/// A record that took its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its place.
    pub seq: Seq,
    /// Its hash.
    pub record: RecordHash,
    /// Who wrote it.
    pub author: Author,
    /// His role; none where he could not write anything there.
    pub role: Option<Role>,
    /// What came of it.
    pub outcome: Outcome,
    /// What to tell the user, beside that.
    pub events: Vec<Event>,
}

/// What came of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The roster is another now.
    Roster,
    /// Operations, to be applied to the tree.
    Content(ContentBody),
    /// The tree at the record before.
    Snapshot(SnapshotBody),
    /// Sealed under an epoch whose key we do not have.
    Unreadable,
    /// The body is not here.
    Pruned,
    /// It has no effect. Its author is to be named.
    Void(Void),
}

/// Why a record has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Void {
    /// The author is no member any more.
    NotAMember,
    /// The author has other keys by now.
    KeySuperseded,
    /// The author's time has passed.
    Expired,
    /// It does not follow the last roster record.
    WrongRoster,
    /// Its epoch is not in force.
    EpochNotInForce,
    /// The author's role does not allow it.
    RoleMayNot,
    /// The body is not of any form, or beyond a limit.
    Malformed,
    /// The body was not sealed for this place.
    Unopened,
    /// It changes nothing.
    Empty,
    /// It names somebody who is no member.
    UnknownMember,
    /// It adds who is a member already, or a name that a member has.
    AlreadyAMember,
    /// Only the creator ends or lowers owners.
    OnlyTheCreator,
    /// The creator stays.
    CreatorStays,
    /// An owner's access does not end by itself.
    OwnersDoNotExpire,
    /// Somebody is removed, and no epoch begins.
    RotationMissing,
    /// An epoch begins while somebody expired is still a member.
    ExpiredMember,
    /// The grants are not for exactly those who need one.
    WrongGrants,
    /// A key chain does not verify, or is another's.
    BadKeyChain,
    /// A nonce where none belongs.
    StrayNonce,
    /// More than there may be.
    TooMany,
    /// There is no such node.
    NoSuchNode,
    /// There is such a node already.
    NodeExists,
    /// Names are in directories only.
    NotADirectory,
    /// Content and links are of files only.
    NotAFile,
    /// The name is taken.
    EntryTaken,
    /// The name is another node's, or nobody's.
    WrongEntry,
    /// The directory is not empty.
    NotEmpty,
    /// A directory takes the place of a directory only, and no other node does.
    OtherKind,
    /// A directory would be within itself.
    Cycle,
    /// The file has a key of that id.
    KeyKnown,
    /// The file has no key of that id.
    UnknownKey,
    /// Blocks under a key that was introduced in an earlier epoch.
    KeyOfEarlierEpoch,
    /// A blob that the share does not have.
    UnknownBlob,
    /// Written over another version than the file has.
    WrongBase,
    /// Blocks that the file does not have are to lie elsewhere.
    NoSuchBlock,
    /// The root does not follow from the leaves.
    WrongContentRoot,
    /// A snapshot of another record than the one before it, or of blobs that it does not add.
    WrongSnapshot,
}

/// Why a log goes no further: the server, or who has broken into it, did this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stop {
    /// The first record is not that of this share.
    Genesis,
    /// A signature does not verify.
    Signature,
    /// The author was never a member.
    UnknownAuthor,
    /// The record is not the next.
    OutOfOrder,
    /// The record does not follow the one before.
    Chain,
    /// Another record than before stands at a place.
    Fork,
    /// The body is not the one that was signed, or is missing where it is needed.
    Body,
    /// A grant that the record does not list.
    ForgedGrant,
    /// A roster names us with a key that is not ours. The author did this.
    NotOurKey,
    /// Written by a newer Keyfold. The share is read-only from here on.
    UnknownVersion,
}

/// What to tell the user beside what a record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The record lists a grant for us that did not come.
    GrantWithheld,
    /// Our grant does not open, or not to the key that the roster commits to. The author did this.
    BadGrant,
    /// The key of the epoch before does not open. The author of that epoch did this.
    BadPreviousKey,
    /// A snapshot of another tree than the log makes. The author did this.
    FalseSnapshot,
    /// A snapshot that the server does not have, or has others of its bytes.
    SnapshotWithheld,
    /// A record drops blobs that are needed. The author did this.
    DroppedInUse,
}
