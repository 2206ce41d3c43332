//! Messages laid out as `linux/fuse.h` says.

use keyfold_fs::vfs::{Cookie, FileRange, Handle, Ino, OpenMode, SetAttr, SetTime, Timestamp};

use super::{
    Copying, DATA_MAX, DirectoryOp, Fallocate, FileOp, Header, InodeOp, Lseek, Manner, Mkdir,
    Mknod, MountOp, NameOp, Operation, Page, Refusal, Rename, Request, Setxattr, Target, Unique,
};
use crate::fuse::front::{Asker, Creation, Exclusive};
use crate::fuse::wire::{Malformed, opcode};

/// A part of a message's body.
#[derive(Clone, Copy)]
enum Part {
    /// 32 bits.
    W(u32),
    /// 64 bits.
    D(u64),
    /// Bytes.
    B(&'static [u8]),
}

use Part::{B, D, W};

const INO: Ino = Ino(42);
const READ: OpenMode = OpenMode {
    read: true,
    write: false,
    append: false,
    truncate: false,
    sync: false,
};

fn body(parts: &[Part]) -> Vec<u8> {
    let bytes = parts.iter().map(|part| match part {
        W(word) => word.to_ne_bytes().to_vec(),
        D(word) => word.to_ne_bytes().to_vec(),
        B(bytes) => bytes.to_vec(),
    });
    bytes.collect::<Vec<_>>().concat()
}

/// A message of the kernel: `fuse_in_header`, then `body`.
fn message(opcode: u32, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    message.extend((40 + body.len() as u32).to_ne_bytes());
    message.extend(opcode.to_ne_bytes());
    message.extend(77_u64.to_ne_bytes());
    message.extend(INO.0.to_ne_bytes());
    for id in [1000_u32, 1001, 1002] {
        message.extend(id.to_ne_bytes());
    }
    message.extend([0; 4]);
    message.extend(body);
    message
}

fn decode(message: &[u8]) -> Result<Operation<'_>, Refusal> {
    let (header, fields) = Header::of(message)?;
    Ok(Request::of(header, fields)?.operation)
}

fn at(offset: u64) -> FileRange {
    FileRange {
        ino: INO,
        handle: Handle(5),
        offset,
    }
}

/// `fuse_setattr_in` with these `valid` bits: every field has a value of its own.
fn setattr_in(valid: u32) -> Vec<Part> {
    let minus_two = (-2_i64).cast_unsigned();
    let (times, nanos) = ([D(minus_two), D(21), D(22)], [W(31), W(32), W(33)]);
    let start = [W(valid), W(0), D(5), D(6), D(7)];
    let end = [W(0o10_4751), W(0), W(41), W(43), W(0)];
    [&start[..], &times, &nanos, &end].concat()
}

fn page_in() -> Vec<Part> {
    vec![D(5), D(6), W(4096), W(0), D(0), W(0), W(0)]
}

const PAGE: Page = Page {
    handle: Handle(5),
    from: Cookie(6),
    size: 4096,
};

fn names() -> Vec<(u32, Vec<Part>, NameOp<'static>)> {
    let rename = |flags| Rename {
        directory: Ino(9),
        name: b"to",
        flags,
    };
    let creation = Creation {
        perm: 0o640,
        umask: 0o22,
        mode: OpenMode {
            write: true,
            sync: true,
            ..READ
        },
        exclusive: Exclusive::Yes,
    };
    let create_flags = (libc::O_RDWR | libc::O_EXCL | libc::O_DSYNC).cast_unsigned();
    let mknod = Mknod {
        mode: 0o2_0644,
        rdev: 0x103,
        umask: 0o22,
    };
    let mkdir = Mkdir {
        perm: 0o755,
        umask: 0o77,
    };
    vec![
        (opcode::LOOKUP, vec![B(b"a\0")], NameOp::Lookup(b"a")),
        (
            opcode::MKNOD,
            vec![W(0o2_0644), W(0x103), W(0o22), W(0), B(b"a\0")],
            NameOp::Mknod(b"a", mknod),
        ),
        (
            opcode::MKDIR,
            vec![W(0o4_0755), W(0o77), B(b"a\0")],
            NameOp::Mkdir(b"a", mkdir),
        ),
        (
            opcode::SYMLINK,
            vec![B(b"a\0b/c\0")],
            NameOp::Symlink(b"a", Target(b"b/c")),
        ),
        (
            opcode::LINK,
            vec![D(9), B(b"a\0")],
            NameOp::Link(b"a", Ino(9)),
        ),
        (
            opcode::CREATE,
            vec![W(create_flags), W(0o10_0640), W(0o22), W(0), B(b"a\0")],
            NameOp::Create(b"a", creation),
        ),
        (opcode::UNLINK, vec![B(b"a\0")], NameOp::Unlink(b"a")),
        (opcode::RMDIR, vec![B(b"a\0")], NameOp::Rmdir(b"a")),
        (
            opcode::RENAME,
            vec![D(9), B(b"a\0to\0")],
            NameOp::Rename(b"a", rename(0)),
        ),
        (
            opcode::RENAME2,
            vec![D(9), W(2), W(0), B(b"a\0to\0")],
            NameOp::Rename(b"a", rename(2)),
        ),
    ]
}

fn inodes() -> Vec<(u32, Vec<Part>, InodeOp<'static>)> {
    let every = SetAttr {
        perm: Some(0o4751),
        uid: Some(41),
        gid: Some(43),
        size: Some(6),
        atime: Some(SetTime::At(Timestamp {
            secs: -2,
            nanos: 31,
        })),
        mtime: Some(SetTime::At(Timestamp {
            secs: 21,
            nanos: 32,
        })),
    };
    let now = SetAttr {
        atime: Some(SetTime::Now),
        mtime: Some(SetTime::Now),
        ..SetAttr::default()
    };
    let value = Setxattr {
        value: b"xyz",
        flags: 1,
    };
    vec![
        (opcode::GETATTR, vec![W(1), W(0), D(5)], InodeOp::Getattr),
        (
            opcode::STATX,
            vec![W(1), W(0), D(5), W(0), W(0xfff)],
            InodeOp::Statx,
        ),
        (
            opcode::SETATTR,
            setattr_in(0b111_1111),
            InodeOp::Setattr(Some(Handle(5)), every),
        ),
        (
            opcode::SETATTR,
            setattr_in(0b1_1011_0000),
            InodeOp::Setattr(None, now),
        ),
        (
            opcode::SETATTR,
            setattr_in(0),
            InodeOp::Setattr(None, SetAttr::default()),
        ),
        (opcode::READLINK, vec![], InodeOp::Readlink),
        (
            opcode::SETXATTR,
            vec![W(3), W(1), B(b"user.a\0xyz")],
            InodeOp::Setxattr(b"user.a", value),
        ),
        (
            opcode::GETXATTR,
            vec![W(9), W(0), B(b"user.a\0")],
            InodeOp::Getxattr(b"user.a", 9),
        ),
        (opcode::LISTXATTR, vec![W(9), W(0)], InodeOp::Listxattr(9)),
        (
            opcode::REMOVEXATTR,
            vec![B(b"user.a\0")],
            InodeOp::Removexattr(b"user.a"),
        ),
    ]
}

fn files() -> Vec<(u32, Vec<Part>, FileOp<'static>)> {
    let copying = Copying {
        from: at(6),
        to: FileRange {
            ino: Ino(9),
            handle: Handle(10),
            offset: 11,
        },
        len: 12,
        flags: 0,
    };
    let lseek = Lseek {
        handle: Handle(5),
        offset: -1,
        whence: 3,
    };
    let tail = [D(0), W(0), W(0)];
    vec![
        (opcode::OPEN, vec![W(0), W(0)], FileOp::Open(READ)),
        (
            opcode::READ,
            [&[D(5), D(6), W(4096), W(0)], &tail[..]].concat(),
            FileOp::Read(at(6), 4096),
        ),
        (
            opcode::WRITE,
            [&[D(5), D(6), W(4), W(0)], &tail[..], &[B(b"data")]].concat(),
            FileOp::Write(at(6), b"data"),
        ),
        (
            opcode::FLUSH,
            vec![D(5), W(0), W(0), D(8)],
            FileOp::Flush(Handle(5)),
        ),
        (
            opcode::RELEASE,
            vec![D(5), W(2), W(0), D(8)],
            FileOp::Release(Handle(5)),
        ),
        (
            opcode::FSYNC,
            vec![D(5), W(1), W(0)],
            FileOp::Fsync(Handle(5)),
        ),
        (
            opcode::FALLOCATE,
            vec![D(5), D(6), D(7), W(3), W(0)],
            FileOp::Fallocate(at(6), Fallocate { len: 7, mode: 3 }),
        ),
        (
            opcode::LSEEK,
            vec![D(5), D(u64::MAX), W(3), W(0)],
            FileOp::Lseek(lseek),
        ),
        (
            opcode::COPY_FILE_RANGE,
            vec![D(5), D(6), D(9), D(10), D(11), D(12), D(0)],
            FileOp::CopyFileRange(copying),
        ),
        (
            opcode::IOCTL,
            vec![D(5), W(0), W(0x5401), D(0), W(0), W(0)],
            FileOp::Ioctl,
        ),
    ]
}

/// Every operation but those that forget, which have tests of their own.
fn every_operation() -> Vec<(u32, Vec<u8>, Operation<'static>)> {
    let directories = vec![
        (opcode::OPENDIR, vec![W(0), W(0)], DirectoryOp::Opendir),
        (opcode::READDIR, page_in(), DirectoryOp::Readdir(PAGE)),
        (
            opcode::READDIRPLUS,
            page_in(),
            DirectoryOp::Readdirplus(PAGE),
        ),
        (
            opcode::RELEASEDIR,
            vec![D(5), W(2), W(0), D(8)],
            DirectoryOp::Releasedir(Handle(5)),
        ),
        (
            opcode::FSYNCDIR,
            vec![D(5), W(1), W(0)],
            DirectoryOp::Fsyncdir(Handle(5)),
        ),
    ];
    let mounts = vec![
        (opcode::STATFS, vec![], MountOp::Statfs),
        (opcode::SYNCFS, vec![D(0)], MountOp::Syncfs),
        (opcode::FORGET, vec![D(3)], MountOp::Forget(3)),
        (opcode::INTERRUPT, vec![D(76)], MountOp::Interrupt),
        (opcode::DESTROY, vec![], MountOp::Destroy),
    ];
    let mut all = Vec::new();
    let mut add = |code, parts: Vec<Part>, operation| all.push((code, body(&parts), operation));
    for (code, parts, op) in names() {
        add(code, parts, Operation::Name(op));
    }
    for (code, parts, op) in inodes() {
        add(code, parts, Operation::Inode(op));
    }
    for (code, parts, op) in files() {
        add(code, parts, Operation::File(op));
    }
    for (code, parts, op) in directories {
        add(code, parts, Operation::Directory(op));
    }
    for (code, parts, op) in mounts {
        add(code, parts, Operation::Mount(op));
    }
    all
}

#[test]
fn the_header_tells_who_asks_what_of_which_inode() {
    let message = message(opcode::STATFS, b"");
    assert_eq!(message.len(), 40);
    let (header, _) = Header::of(&message).unwrap();
    let expected = Header {
        opcode: 17,
        unique: Unique(77),
        ino: INO,
        asker: Asker {
            uid: 1000,
            gid: 1001,
            pid: 1002,
        },
    };
    assert_eq!(header, expected);
}

#[test]
fn every_operation_is_read_as_it_was_sent() {
    for (code, body, expected) in every_operation() {
        let message = message(code, &body);
        assert_eq!(decode(&message), Ok(expected), "operation {code}");
    }
}

#[test]
fn an_operation_that_was_cut_off_is_malformed() {
    for (code, body, _) in every_operation() {
        for len in 0..body.len() {
            let message = message(code, &body[..len]);
            let decoded = decode(&message);
            assert_eq!(decoded, Err(Refusal::Malformed), "operation {code}, {len}");
        }
    }
}

#[test]
fn a_header_that_was_cut_off_or_tells_another_length_is_malformed() {
    let whole = message(opcode::LOOKUP, b"a\0");
    for len in 0..whole.len() {
        assert_eq!(Header::of(&whole[..len]).err(), Some(Malformed));
    }
    let mut longer = whole;
    longer.push(0);
    assert_eq!(Header::of(&longer).err(), Some(Malformed));
}

#[test]
fn what_no_request_can_say_is_malformed() {
    let tail = [W(0), D(0), W(0), W(0)];
    let read = |offset, size| body(&[&[D(5), D(offset), W(size)], &tail[..]].concat());
    let negative = (-1_i64).cast_unsigned();
    let mut slow = setattr_in(0b01_0000);
    slow[8] = W(1_000_000_000);
    let refused = [
        (opcode::READ, read(negative, 1)),
        (opcode::READ, read(0, DATA_MAX + 1)),
        (opcode::READDIR, read(0, DATA_MAX + 1)),
        (opcode::WRITE, read(0, DATA_MAX + 1)),
        (opcode::SETATTR, body(&slow)),
        (opcode::BATCH_FORGET, body(&[W(u32::MAX), W(0), D(1), D(2)])),
        (opcode::SETXATTR, body(&[W(u32::MAX), W(0), B(b"a\0b")])),
        (opcode::LOOKUP, b"no end".to_vec()),
    ];
    for (code, body) in refused {
        let message = message(code, &body);
        assert_eq!(
            decode(&message),
            Err(Refusal::Malformed),
            "operation {code}"
        );
    }
}

#[test]
fn many_inodes_are_forgotten_at_once() {
    let body = body(&[W(2), W(0), D(7), D(1), D(8), D(u64::MAX)]);
    let message = message(opcode::BATCH_FORGET, &body);
    let Ok(Operation::Mount(MountOp::ForgetMany(all))) = decode(&message) else {
        panic!("not read");
    };
    let all: Vec<_> = all.iter().collect();
    assert_eq!(all, [(Ino(7), 1), (Ino(8), u64::MAX)]);
}

#[test]
fn an_unknown_operation_is_refused_as_such() {
    let known: Vec<u32> = every_operation().iter().map(|(code, ..)| *code).collect();
    let others = (0..200).filter(|code| !known.contains(code) && *code != opcode::BATCH_FORGET);
    for code in others {
        assert_eq!(decode(&message(code, &[0; 64])), Err(Refusal::Unknown));
    }
}

#[test]
fn no_bytes_are_fatal() {
    let mut state = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1;
    eprintln!("seed {state}");
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..20_000 {
        let mut body: Vec<u8> = (0..random() % 120).map(|_| random() as u8).collect();
        // Half of the lengths and counts are small.
        if random() & 1 == 0 {
            for byte in body.iter_mut().skip(1).step_by(2) {
                *byte = 0;
            }
        }
        let message = message((random() % 60) as u32, &body);
        if let Ok(Operation::Mount(MountOp::ForgetMany(all))) = decode(&message) {
            assert!(all.iter().count() <= body.len() / 16);
        }
    }
}

#[test]
fn what_may_wait_for_the_disk_and_what_is_no_use_is_told() {
    let manner = |op| Operation::manner(&op);
    let write = Operation::File(FileOp::Write(at(0), b"x"));
    assert_eq!(manner(write), Manner::Waiting);
    for (size, expected) in [
        (4096, Manner::Promptly),
        (256 << 10, Manner::Promptly),
        ((256 << 10) + 1, Manner::Long),
        (DATA_MAX, Manner::Long),
    ] {
        assert_eq!(manner(Operation::File(FileOp::Read(at(0), size))), expected);
    }
    assert_eq!(manner(Operation::Mount(MountOp::Syncfs)), Manner::Long);
    assert_eq!(manner(Operation::Mount(MountOp::Statfs)), Manner::Unnoticed);
    let unanswered = every_operation();
    let unanswered = unanswered.iter().filter(|(.., op)| !op.is_answered());
    let codes: Vec<_> = unanswered.map(|(code, ..)| *code).collect();
    assert_eq!(codes, [opcode::FORGET]);
}
