//! POSIX access control lists (POSIX.1e draft 17): wire form, validity, and what they do to a mode.

use crate::error::{FsError, FsResult};

const VERSION: u32 = 2;
const HEADER: usize = 4;
const ENTRY: usize = 8;
/// The id that entries without one carry on the wire.
const NO_ID: u32 = u32::MAX;

/// Who an entry speaks of, in the order entries must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tag {
    UserObj,
    User,
    GroupObj,
    Group,
    Mask,
    Other,
}

impl Tag {
    const WIRE: [(Self, u16); 6] = [
        (Self::UserObj, 0x01),
        (Self::User, 0x02),
        (Self::GroupObj, 0x04),
        (Self::Group, 0x08),
        (Self::Mask, 0x10),
        (Self::Other, 0x20),
    ];

    fn from_wire(wire: u16) -> Option<Self> {
        Self::WIRE
            .iter()
            .find(|(_, w)| *w == wire)
            .map(|(tag, _)| *tag)
    }

    fn wire(self) -> u16 {
        Self::WIRE[self as usize].1
    }

    fn is_named(self) -> bool {
        matches!(self, Self::User | Self::Group)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    tag: Tag,
    perm: u16,
    id: u32,
}

/// An access control list; valid where [`Acl::check`] says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Acl(Vec<Entry>);

impl Acl {
    /// Decodes the kernel's wire form, without checking the list as a whole; an empty list is `None`, which means "no list".
    pub(super) fn decode(bytes: &[u8]) -> FsResult<Option<Self>> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let (header, rest) = bytes
            .split_first_chunk::<HEADER>()
            .ok_or(FsError::InvalidArgument)?;
        if u32::from_le_bytes(*header) != VERSION {
            return Err(FsError::NotSupported);
        }
        let (chunks, left) = rest.as_chunks::<ENTRY>();
        if !left.is_empty() {
            return Err(FsError::InvalidArgument);
        }
        if chunks.is_empty() {
            return Ok(None);
        }
        let entries = chunks
            .iter()
            .copied()
            .map(decode_entry)
            .collect::<FsResult<Vec<_>>>()?;
        Ok(Some(Self(entries)))
    }

    /// The kernel's wire form.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for entry in &self.0 {
            bytes.extend(entry.tag.wire().to_le_bytes());
            bytes.extend(entry.perm.to_le_bytes());
            bytes.extend(entry.id.to_le_bytes());
        }
        bytes
    }

    /// Checks that the entries are those a list must have, in their order.
    pub(super) fn check(&self) -> FsResult<()> {
        if self.is_valid() {
            Ok(())
        } else {
            Err(FsError::InvalidArgument)
        }
    }

    fn is_valid(&self) -> bool {
        let count = |tag| self.0.iter().filter(|e| e.tag == tag).count();
        let named = self.0.iter().any(|e| e.tag.is_named());
        self.0.is_sorted_by_key(|e| e.tag)
            && self.0.iter().all(|e| e.perm <= 7)
            && [Tag::UserObj, Tag::GroupObj, Tag::Other]
                .iter()
                .all(|tag| count(*tag) == 1)
            && count(Tag::Mask) <= 1
            && (!named || count(Tag::Mask) == 1)
    }

    /// Whether the list says no more than nine permission bits can.
    pub(super) fn is_minimal(&self) -> bool {
        self.0.len() == 3
    }

    /// The entry that the group bits of the mode stand for.
    fn group_class(&self) -> Tag {
        if self.0.iter().any(|e| e.tag == Tag::Mask) {
            Tag::Mask
        } else {
            Tag::GroupObj
        }
    }

    fn classes(&self) -> [(Tag, u16); 3] {
        [(Tag::UserObj, 6), (self.group_class(), 3), (Tag::Other, 0)]
    }

    /// `perm` with its nine low bits as this list has them.
    pub(super) fn applied_to(&self, perm: u16) -> u16 {
        let mut perm = perm & !0o777;
        for (tag, shift) in self.classes() {
            for entry in self.0.iter().filter(|e| e.tag == tag) {
                perm |= entry.perm << shift;
            }
        }
        perm
    }

    /// This list after chmod(2) to `perm`.
    pub(super) fn after_chmod(&self, perm: u16) -> Self {
        let mut acl = self.clone();
        for (tag, shift) in self.classes() {
            for entry in acl.0.iter_mut().filter(|e| e.tag == tag) {
                entry.perm = (perm >> shift) & 7;
            }
        }
        acl
    }

    /// What an object created with `perm` gets where this is the directory's default list: its
    /// own list, if one is needed, and its mode.
    pub(super) fn inherited(&self, perm: u16) -> (Option<Self>, u16) {
        let masked = self.after_chmod(self.applied_to(0) & perm);
        let perm = masked.applied_to(perm);
        (Some(masked).filter(|acl| !acl.is_minimal()), perm)
    }
}

fn decode_entry(bytes: [u8; ENTRY]) -> FsResult<Entry> {
    let [t0, t1, p0, p1, id @ ..] = bytes;
    let tag = Tag::from_wire(u16::from_le_bytes([t0, t1])).ok_or(FsError::InvalidArgument)?;
    let perm = u16::from_le_bytes([p0, p1]);
    let id = if tag.is_named() {
        u32::from_le_bytes(id)
    } else {
        NO_ID
    };
    if tag.is_named() && id == NO_ID {
        return Err(FsError::InvalidArgument);
    }
    Ok(Entry { tag, perm, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for (tag, perm, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(perm.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn a_mask_stands_for_the_group_bits() {
        let bytes = wire(&[
            (1, 6, NO_ID),
            (2, 7, 1000),
            (4, 5, NO_ID),
            (0x10, 4, NO_ID),
            (0x20, 0, NO_ID),
        ]);
        let acl = Acl::decode(&bytes).unwrap().unwrap();
        assert_eq!(acl.applied_to(0o4777), 0o4640);
        assert_eq!(acl.encode(), bytes);
        assert_eq!(acl.after_chmod(0o707).applied_to(0), 0o707);
        assert_eq!(acl.inherited(0o666).1, 0o640);
    }

    #[test]
    fn malformed_lists_are_refused() {
        let missing_mask = wire(&[(1, 6, 0), (2, 7, 1000), (4, 5, 0), (0x20, 0, 0)]);
        let unsorted = wire(&[(4, 5, 0), (1, 6, 0), (0x20, 0, 0)]);
        let wide = wire(&[(1, 8, 0), (4, 5, 0), (0x20, 0, 0)]);
        for bytes in [missing_mask, unsorted, wide] {
            assert_eq!(
                Acl::decode(&bytes).unwrap().unwrap().check(),
                Err(FsError::InvalidArgument)
            );
        }
        for bytes in [vec![2], vec![2, 0, 0, 0, 1]] {
            assert_eq!(Acl::decode(&bytes), Err(FsError::InvalidArgument));
        }
        assert_eq!(Acl::decode(&[9, 0, 0, 0]), Err(FsError::NotSupported));
        assert_eq!(Acl::decode(&[]), Ok(None));
        assert_eq!(Acl::decode(&wire(&[])), Ok(None));
    }
}
