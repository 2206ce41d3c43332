//! Why a command about shares failed, as the write of it tells: one table, read in both directions.

use crate::cli::exit::Exit;

/// Exit codes that have an errno of their own.
const TABLE: [(Exit, i32); 15] = [
    (Exit::Usage, libc::EINVAL),
    (Exit::NoSuchPath, libc::ENOENT),
    (Exit::NoPermission, libc::EACCES),
    (Exit::Busy, libc::EBUSY),
    (Exit::NoSpace, libc::ENOSPC),
    (Exit::ReadOnly, libc::EROFS),
    (Exit::Disk, libc::EIO),
    (Exit::Damaged, libc::EUCLEAN),
    (Exit::NewerFormat, libc::EPROTONOSUPPORT),
    (Exit::WrongSecret, libc::EBADMSG),
    (Exit::Unreachable, libc::EHOSTUNREACH),
    (Exit::Refused, libc::EREMOTEIO),
    (Exit::Untrusted, libc::EKEYREJECTED),
    (Exit::NoAccount, libc::ENOKEY),
    (Exit::NotYetRevoked, libc::EINPROGRESS),
];

/// What the write of a command fails with.
pub(crate) fn errno_of(exit: Exit) -> i32 {
    let known = TABLE.iter().find(|(known, _)| *known == exit);
    known.map_or(libc::EPERM, |(_, errno)| *errno)
}

/// What a command ends with whose write failed so, if that says it.
pub(crate) fn exit_of(errno: i32) -> Option<Exit> {
    let known = TABLE.iter().find(|(_, known)| *known == errno);
    known.map(|(exit, _)| *exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_comes_back_from_its_errno() {
        for (exit, _) in TABLE {
            assert_eq!(exit_of(errno_of(exit)), Some(exit));
        }
        for exit in Exit::ALL {
            let back = exit_of(errno_of(exit));
            assert!(back.is_none_or(|back| back == exit), "{exit:?}");
        }
    }
}
