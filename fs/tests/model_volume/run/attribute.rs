//! Modes, owners, times and extended attributes.

use keyfold_fs::vfs::{FileKind, Ino, SetAttr, SetTime, Timestamp, Vfs, XattrMode};

use super::file::count;
use super::{Checked, pattern};
use crate::ops::{AclKind, AclShape, Op, Pick};
use crate::pair::{Both, Pair, agree};

const TIMES: [SetTime; 5] = [
    SetTime::Now,
    SetTime::At(Timestamp { secs: 0, nanos: 0 }),
    SetTime::At(Timestamp {
        secs: -77,
        nanos: 999_999_999,
    }),
    SetTime::At(Timestamp {
        secs: 5_000_000_000,
        nanos: 1,
    }),
    SetTime::At(Timestamp {
        secs: 1_700_000_000,
        nanos: 123_456_789,
    }),
];

/// A well-formed capability set (revision 2): the kernel accepts no other value.
const CAPABILITY: [u8; 20] = [0, 0, 0, 2, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Longest value for subjects without exact limits.
const SHORT: usize = 600;
fn acl(shape: AclShape, perm: u16) -> Vec<u8> {
    let (user, group, other) = (perm >> 6 & 7, perm >> 3 & 7, perm & 7);
    let entries: &[(u16, u16, u32)] = match shape {
        AclShape::None => &[],
        AclShape::Minimal => &[(1, user, !0), (4, group, !0), (0x20, other, !0)],
        AclShape::MaskOnly => &[
            (1, user, !0),
            (4, 7, !0),
            (0x10, group, !0),
            (0x20, other, !0),
        ],
        AclShape::Malformed => &[
            (1, user, !0),
            (2, 7, 1000),
            (4, group, !0),
            (0x20, other, !0),
        ],
        AclShape::Named => &[
            (1, user, !0),
            (2, 7, 1000),
            (2, 1, 1001),
            (4, 5, !0),
            (8, other, 100),
            (0x10, group, !0),
            (0x20, other, !0),
        ],
    };
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(perm.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

impl Pair<'_> {
    pub(super) fn attributes(&mut self, op: &Op) -> Checked {
        let Some(ino) = self.target_of(op) else {
            return Ok(());
        };
        let vfs = self.vfs();
        match op {
            Op::Chmod { perm, .. } => self.setattr(
                ino,
                None,
                &SetAttr {
                    perm: Some(*perm),
                    ..SetAttr::default()
                },
            ),
            Op::Chown { uid, gid, .. } => self.setattr(
                ino,
                None,
                &SetAttr {
                    uid: *uid,
                    gid: *gid,
                    ..SetAttr::default()
                },
            ),
            Op::SetTimes { atime, mtime, .. } => {
                let time = |pick: &Pick| TIMES[usize::from(*pick) % TIMES.len()];
                let (atime, mtime) = (atime.as_ref().map(time), mtime.as_ref().map(time));
                self.setattr(
                    ino,
                    None,
                    &SetAttr {
                        atime,
                        mtime,
                        ..SetAttr::default()
                    },
                )
            }
            Op::SetXattr {
                name, len, mode, ..
            } => {
                let (name, value) = self.attribute(*name, *len);
                // Linux asks for nothing else where lists are concerned.
                let acl = name.starts_with(b"system.");
                let mode = if acl { &XattrMode::Set } else { mode };
                self.setxattr(ino, (name, &value), *mode)
            }
            Op::GetXattr { name, .. } => {
                let (name, _) = self.attribute(*name, 0);
                let model = vfs.model.getxattr(ino.model, name);
                count(model, vfs.subject.getxattr(ino.subject, name))
            }
            Op::ListXattr(_) => {
                let sorted = |list: Vec<u8>| {
                    let mut names: Vec<Vec<u8>> = list.split(|b| *b == 0).map(Into::into).collect();
                    names.sort();
                    names
                };
                let model = vfs.model.listxattr(ino.model).map(sorted);
                count(model, vfs.subject.listxattr(ino.subject).map(sorted))
            }
            Op::RemoveXattr { name, .. } => {
                let (name, _) = self.attribute(*name, 0);
                let model = vfs.model.removexattr(ino.model, name);
                agree(model, vfs.subject.removexattr(ino.subject, name)).map(drop)
            }
            Op::SetAcl {
                kind, shape, perm, ..
            } => {
                let value = acl(*shape, *perm);
                self.setxattr(ino, (acl_name(*kind), &value), XattrMode::Set)
            }
            _ => Ok(()),
        }
    }

    fn setxattr(&mut self, ino: Both<Ino>, xattr: (&[u8], &[u8]), mode: XattrMode) -> Checked {
        let (vfs, (name, value)) = (self.vfs(), xattr);
        let state = |vfs: &dyn Vfs| {
            let perm = vfs.getattr(ino.model).map(|attr| attr.perm);
            (perm, vfs.getxattr(ino.model, name))
        };
        let before = state(vfs.model);
        let model = vfs.model.setxattr(ino.model, name, value, mode);
        agree(model, vfs.subject.setxattr(ino.subject, name, value, mode))?;
        // Setting what is set already may count as a change or not.
        let same = before == state(vfs.model);
        if same {
            self.forget_seen(ino);
        }
        Ok(())
    }

    /// The inode an attribute operation is about. The kernel keeps `user` attributes and modes
    /// away from symlinks and special files, so only files and directories are asked.
    fn target_of(&self, op: &Op) -> Option<Both<Ino>> {
        let plain = |kind| matches!(kind, FileKind::Regular | FileKind::Directory);
        match op {
            Op::Chown { node, .. } | Op::SetTimes { node, .. } => self.node(*node),
            Op::Chmod { node, .. } => self.pick_node(*node, |kind| kind != FileKind::Symlink),
            Op::SetXattr { node, .. }
            | Op::GetXattr { node, .. }
            | Op::ListXattr(node)
            | Op::RemoveXattr { node, .. }
            | Op::SetAcl { node, .. } => self.pick_node(*node, plain),
            _ => None,
        }
    }

    fn attribute(&self, pick: Pick, len: usize) -> (&'static [u8], Vec<u8>) {
        let names: [&[u8]; 8] = [
            b"user.a",
            b"user.b",
            b"user.\xffc",
            b"trusted.a",
            b"security.capability",
            b"system.posix_acl_access",
            b"system.posix_acl_default",
            b"nonsense.a",
        ];
        let name = names[usize::from(pick) % names.len()];
        let len = if self.promises.limits {
            len
        } else {
            len.min(SHORT)
        };
        match name {
            b"security.capability" => (name, CAPABILITY.to_vec()),
            b"system.posix_acl_access" | b"system.posix_acl_default" => {
                (name, acl(AclShape::Named, len as u16))
            }
            _ => (name, pattern(pick | 1, 0, len as u64)),
        }
    }
}

fn acl_name(kind: AclKind) -> &'static [u8] {
    match kind {
        AclKind::Access => b"system.posix_acl_access",
        AclKind::Default => b"system.posix_acl_default",
    }
}
