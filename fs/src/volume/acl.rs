//! POSIX access control lists in the kernel's wire form, kept in step with the mode
//! (withdrawn POSIX 1003.1e, draft 17; `include/uapi/linux/posix_acl_xattr.h`).

use crate::error::{FsError, FsResult};

/// Attribute name of the access ACL.
pub(super) const ACCESS: &[u8] = b"system.posix_acl_access";
/// Attribute name of the ACL that new entries of a directory inherit.
pub(super) const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const ENTRY_BYTES: usize = 8;

#[derive(Clone, Copy)]
struct Entry {
    tag: u16,
    perm: u16,
    id: u32,
}

/// A valid access control list.
pub(super) struct Acl(Vec<Entry>);

impl Acl {
    /// Reads the wire form; `None` for a list without entries, which stands for no ACL.
    pub(super) fn parse(bytes: &[u8]) -> FsResult<Option<Self>> {
        let (version, entries) = bytes
            .split_first_chunk::<4>()
            .ok_or(FsError::InvalidArgument)?;
        if u32::from_le_bytes(*version) != VERSION {
            return Err(FsError::NotSupported);
        }
        if entries.len() % ENTRY_BYTES != 0 {
            return Err(FsError::InvalidArgument);
        }
        if entries.is_empty() {
            return Ok(None);
        }
        let acl = Self(
            entries
                .chunks_exact(ENTRY_BYTES)
                .map(Entry::parse)
                .collect(),
        );
        acl.check()?;
        Ok(Some(acl))
    }

    /// Order and completeness as the kernel's `posix_acl_valid`.
    fn check(&self) -> FsResult<()> {
        let rank = |e: &Entry| match e.tag {
            USER_OBJ => Some(0),
            USER => Some(1),
            GROUP_OBJ => Some(2),
            GROUP => Some(3),
            MASK => Some(4),
            OTHER => Some(5),
            _ => None,
        };
        let count = |tag| self.0.iter().filter(|e| e.tag == tag).count();
        let ranks: Option<Vec<_>> = self.0.iter().map(rank).collect();
        let ordered = ranks.is_some_and(|r| r.is_sorted());
        let perms = self.0.iter().all(|e| e.perm <= 7);
        let single = [USER_OBJ, GROUP_OBJ, OTHER]
            .into_iter()
            .all(|t| count(t) == 1);
        let named = count(USER) + count(GROUP) > 0;
        let masked = count(MASK) == 1 || (count(MASK) == 0 && !named);
        if ordered && perms && single && masked {
            Ok(())
        } else {
            Err(FsError::InvalidArgument)
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = VERSION.to_le_bytes().to_vec();
        for e in &self.0 {
            out.extend_from_slice(&e.tag.to_le_bytes());
            out.extend_from_slice(&e.perm.to_le_bytes());
            out.extend_from_slice(&e.id.to_le_bytes());
        }
        out
    }

    fn perm_of(&self, tag: u16) -> Option<u16> {
        self.0.iter().find(|e| e.tag == tag).map(|e| e.perm)
    }

    /// The permission bits that this list stands for.
    pub(super) fn perm(&self) -> u16 {
        let get = |tag| self.perm_of(tag).unwrap_or(0);
        let group = self.perm_of(MASK).unwrap_or_else(|| get(GROUP_OBJ));
        get(USER_OBJ) << 6 | group << 3 | get(OTHER)
    }

    /// It says no more than permission bits do.
    pub(super) fn is_minimal(&self) -> bool {
        self.0.len() == 3
    }

    fn set(&mut self, tag: u16, f: impl FnOnce(u16) -> u16) {
        if let Some(e) = self.0.iter_mut().find(|e| e.tag == tag) {
            e.perm = f(e.perm);
        }
    }

    fn class_of_group(&self) -> u16 {
        if self.perm_of(MASK).is_some() {
            MASK
        } else {
            GROUP_OBJ
        }
    }

    /// The list after chmod(2) to `perm`.
    pub(super) fn with_perm(mut self, perm: u16) -> Self {
        let group = self.class_of_group();
        self.set(USER_OBJ, |_| perm >> 6 & 7);
        self.set(group, |_| perm >> 3 & 7);
        self.set(OTHER, |_| perm & 7);
        self
    }

    /// The access list of an object made with `perm` under this default list.
    pub(super) fn inherited(mut self, perm: u16) -> Self {
        let group = self.class_of_group();
        self.set(USER_OBJ, |p| p & (perm >> 6) & 7);
        self.set(group, |p| p & (perm >> 3) & 7);
        self.set(OTHER, |p| p & perm & 7);
        self
    }
}

impl Entry {
    fn parse(bytes: &[u8]) -> Self {
        let (tag, rest) = bytes.split_at(2);
        let (perm, id) = rest.split_at(2);
        let short = |b: &[u8]| u16::from_le_bytes([b[0], b[1]]);
        Self {
            tag: short(tag),
            perm: short(perm),
            id: u32::from_le_bytes([id[0], id[1], id[2], id[3]]),
        }
    }
}
