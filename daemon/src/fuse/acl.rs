//! The one rule about access ACLs that the kernel leaves to us.
//!
//! A process that is not in a file's group must not keep the file setgid by giving it an ACL.
//! The kernel would say so in the long form of the setxattr request, which is not asked for.

use std::fs;

use keyfold_fs::error::FsResult;
use keyfold_fs::vfs::{Ino, SetAttr, Vfs};

use super::front::Asker;

/// The access ACL.
pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";

const SETGID: u16 = 0o2000;

/// Clears the setgid bit where `asker`, who has just set an access ACL, may not keep it.
pub(crate) fn drop_setgid(vfs: &dyn Vfs, asker: Asker, ino: Ino) -> FsResult<()> {
    if asker.uid == 0 {
        return Ok(());
    }
    let attr = vfs.getattr(ino)?;
    if attr.perm & SETGID == 0 || asker.gid == attr.gid || in_group(asker.pid, attr.gid) {
        return Ok(());
    }
    let set = SetAttr {
        perm: Some(attr.perm & !SETGID),
        ..SetAttr::default()
    };
    vfs.setattr(ino, None, &set).map(drop)
}

/// Whether a process has `gid` among its supplementary groups; `false` where that is not known.
fn in_group(pid: u32, gid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| lists(&status, gid))
}

fn lists(status: &str, gid: u32) -> bool {
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    groups.is_some_and(|groups| {
        groups
            .split_whitespace()
            .any(|word| word.parse() == Ok(gid))
    })
}

#[cfg(test)]
mod tests {
    use super::lists;

    #[test]
    fn groups_are_read_from_a_process_status() {
        let status = "Name:\tx\nGid:\t5\t5\t5\t5\nGroups:\t4 24 1000 \nNStgid:\t1\n";
        assert!(lists(status, 24) && lists(status, 1000));
        assert!(!lists(status, 5) && !lists(status, 2) && !lists("", 4));
    }
}
