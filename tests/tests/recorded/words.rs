//! Operations as prose: `write("a", 0, 5000, 1)`.

use super::act::Act;

pub fn create(path: &str) -> Act {
    Act::Create(path.into())
}
pub fn mkdir(path: &str) -> Act {
    Act::Mkdir(path.into())
}
pub fn symlink(path: &str, target: &str) -> Act {
    Act::Symlink(path.into(), target.into())
}
pub fn write(path: &str, offset: u64, len: usize, seed: u8) -> Act {
    Act::Write {
        path: path.into(),
        offset,
        len,
        seed,
    }
}
pub fn append(path: &str, len: usize, seed: u8) -> Act {
    Act::Append {
        path: path.into(),
        len,
        seed,
    }
}
pub fn truncate(path: &str, size: u64) -> Act {
    Act::Truncate(path.into(), size)
}
pub fn punch(path: &str, offset: u64, len: u64) -> Act {
    Act::Punch(path.into(), offset, len)
}
pub fn extend(path: &str, size: u64) -> Act {
    Act::Extend(path.into(), size)
}
pub fn rename(from: &str, to: &str) -> Act {
    Act::Rename(from.into(), to.into())
}
pub fn exchange(from: &str, to: &str) -> Act {
    Act::Exchange(from.into(), to.into())
}
pub fn link(from: &str, to: &str) -> Act {
    Act::Link(from.into(), to.into())
}
pub fn unlink(path: &str) -> Act {
    Act::Unlink(path.into())
}
pub fn rmdir(path: &str) -> Act {
    Act::Rmdir(path.into())
}
pub fn chmod(path: &str, perm: u16) -> Act {
    Act::Chmod(path.into(), perm)
}
pub fn set_mtime(path: &str, secs: i64) -> Act {
    Act::SetMtime(path.into(), secs)
}
pub fn set_xattr(path: &str, name: &str, value: &[u8]) -> Act {
    Act::SetXattr(path.into(), name.into(), value.into())
}
pub fn remove_xattr(path: &str, name: &str) -> Act {
    Act::RemoveXattr(path.into(), name.into())
}
pub fn copy(from: &str, to: &str) -> Act {
    Act::Copy(from.into(), to.into())
}
pub fn hold(path: &str) -> Act {
    Act::Hold(path.into())
}
pub fn write_held(path: &str, offset: u64, len: usize, seed: u8) -> Act {
    Act::WriteHeld(path.into(), offset, len, seed)
}
pub fn let_go(path: &str) -> Act {
    Act::LetGo(path.into())
}
pub fn fsync(path: &str) -> Act {
    Act::Fsync(path.into())
}
pub fn fsync_held(path: &str) -> Act {
    Act::FsyncHeld(path.into())
}
pub fn sync() -> Act {
    Act::Sync
}
