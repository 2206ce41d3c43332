//! Who takes part in a share, what each may do, and how records change that.
//!
//! ```text
//! body   = [1, nonce(16) or null, [change...], null or [commitment(32), previous key or null],
//!           [[root(32), grant hash(32)]...]]
//! change = [0, user, [signed entry...], role, expires or null, request(32) or null]   add
//!        | [1, root(32)]                                                            remove
//!        | [2, root(32), role]                                                      role
//!        | [3, root(32), expires or null]                                           expiry
//!        | [4, root(32), [signed entry...]]                                         member-key
//!        | [5]                                                                      leave
//! roster = [1, nonce(16), version, epoch, commitment(32), creator(32),
//!           [[user, root(32), entry(32), role, expires or null]...]]
//! ```
//!
//! The nonce is in the first record alone; it makes the hash of a roster that of no other share's.

mod change;
mod member;

pub use change::{Change, NewEpoch, RosterBody};
pub use member::{Member, Role, Roster};
