//! Random operations, weighted towards trouble. Objects are picked by number among those known
//! when the operation runs, so that a shortened sequence still means something.

use keyfold_fs::vfs::{Allocate, FileKind, RenameMode, Seek, XattrMode};
use proptest::prelude::*;

const BLOCK: u64 = 4096;

/// Picks one of the known objects of a kind.
pub(crate) type Pick = u8;

/// From here on a picked name is one of those in the directory.
pub(crate) const EXISTING: Pick = 100;

/// A name in a directory, both picked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    pub(crate) dir: Pick,
    pub(crate) name: Pick,
}

/// A range of an open file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) handle: Pick,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Opening {
    Read,
    Write,
    ReadWrite,
    Append,
    Truncate,
    Sync,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum AclShape {
    None,
    Minimal,
    Named,
    MaskOnly,
    Malformed,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum AclKind {
    Access,
    Default,
}

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Lookup(At),
    Forget(Pick),
    Mknod {
        at: At,
        kind: FileKind,
        perm: u16,
        caller: Pick,
    },
    Mkdir {
        at: At,
        perm: u16,
        caller: Pick,
    },
    Symlink {
        at: At,
        len: usize,
        caller: Pick,
    },
    Link {
        node: Pick,
        at: At,
    },
    Unlink(At),
    Rmdir(At),
    Rename {
        from: At,
        to: At,
        mode: RenameMode,
    },
    Create {
        at: At,
        perm: u16,
        caller: Pick,
        opening: Opening,
    },
    /// A new file, written under another name and renamed: how editors save.
    Save {
        at: At,
        len: u64,
        fill: u8,
    },
    Open {
        node: Pick,
        opening: Opening,
    },
    Read(Span),
    Write {
        span: Span,
        fill: u8,
    },
    Flush(Pick),
    Release(Pick),
    Fsync(Pick),
    Fallocate {
        span: Span,
        mode: Allocate,
    },
    Seek {
        handle: Pick,
        offset: u64,
        what: Seek,
    },
    Copy {
        from: Span,
        to: Pick,
        to_offset: u64,
    },
    Truncate {
        node: Pick,
        size: u64,
    },
    TruncateOpen {
        handle: Pick,
        size: u64,
    },
    Chmod {
        node: Pick,
        perm: u16,
    },
    Chown {
        node: Pick,
        uid: Option<u32>,
        gid: Option<u32>,
    },
    SetTimes {
        node: Pick,
        atime: Option<Pick>,
        mtime: Option<Pick>,
    },
    SetXattr {
        node: Pick,
        name: Pick,
        len: usize,
        mode: XattrMode,
    },
    GetXattr {
        node: Pick,
        name: Pick,
    },
    ListXattr(Pick),
    RemoveXattr {
        node: Pick,
        name: Pick,
    },
    SetAcl {
        node: Pick,
        kind: AclKind,
        shape: AclShape,
        perm: u16,
    },
    Opendir(Pick),
    Readdir {
        handle: Pick,
        count: usize,
    },
    ReaddirPlus {
        handle: Pick,
        count: usize,
    },
    Releasedir(Pick),
    Statfs,
    Sync,
    CheckAll,
    Remount,
    Crash,
}

fn pick() -> impl Strategy<Value = Pick> {
    any::<u8>()
}

/// Low picks are the oldest directories: most work happens in few of them.
fn dir() -> impl Strategy<Value = Pick> {
    prop_oneof![3 => Just(0_u8), 2 => Just(1_u8), 2 => any::<u8>()]
}

fn at() -> impl Strategy<Value = At> {
    (dir(), prop_oneof![6 => 0..5_u8, 1 => any::<u8>()]).prop_map(|(dir, name)| At { dir, name })
}

/// Mostly a name that exists.
fn taken() -> impl Strategy<Value = At> {
    (dir(), prop_oneof![1 => 0..5_u8, 5 => EXISTING..=u8::MAX])
        .prop_map(|(dir, name)| At { dir, name })
}

fn offset() -> impl Strategy<Value = u64> {
    let block = prop_oneof![
        8 => 0..4_u64,
        3 => 62..67_u64,
        1 => 126..130_u64,
        1 => Just(1_u64 << 28),
        1 => Just((1_u64 << 32) - 2),
    ];
    let inside = prop_oneof![3 => Just(0), 2 => 0..3_u64, 2 => 4094..4096_u64, 2 => 0..4096_u64];
    prop_oneof![3 => Just(0), 10 => (block, inside).prop_map(|(block, at)| block * BLOCK + at)]
}

fn len() -> impl Strategy<Value = u64> {
    prop_oneof![
        1 => Just(0),
        3 => 1..10_u64,
        3 => 1..BLOCK,
        3 => Just(BLOCK),
        3 => BLOCK..4 * BLOCK,
        2 => (1..4_u64).prop_map(|blocks| blocks * BLOCK),
        1 => 60 * BLOCK..70 * BLOCK,
    ]
}

fn span() -> impl Strategy<Value = Span> {
    (pick(), offset(), len()).prop_map(|(handle, offset, len)| Span {
        handle,
        offset,
        len,
    })
}

fn opening() -> impl Strategy<Value = Opening> {
    prop_oneof![
        1 => Just(Opening::Read),
        1 => Just(Opening::Write),
        6 => Just(Opening::ReadWrite),
        1 => Just(Opening::Append),
        1 => Just(Opening::Truncate),
        1 => Just(Opening::Sync),
    ]
}

fn perm() -> impl Strategy<Value = u16> {
    prop::sample::select(vec![
        0o644, 0o755, 0o777, 0o600, 0o000, 0o1777, 0o070, 0o421,
    ])
}

fn any_perm() -> impl Strategy<Value = u16> {
    let special = vec![0o6755, 0o2755, 0o4711, 0o2644, 0o6777, 0o2775, 0o7777];
    prop_oneof![perm(), prop::sample::select(special)]
}

fn rename_mode() -> impl Strategy<Value = RenameMode> {
    prop_oneof![
        5 => Just(RenameMode::Replace),
        1 => Just(RenameMode::NoReplace),
        2 => Just(RenameMode::Exchange),
    ]
}

fn allocate() -> impl Strategy<Value = Allocate> {
    prop_oneof![
        1 => Just(Allocate::Extend),
        1 => Just(Allocate::KeepSize),
        3 => Just(Allocate::PunchHole),
        2 => Just(Allocate::Zero),
        1 => Just(Allocate::ZeroKeepSize),
    ]
}

fn namespace_op() -> BoxedStrategy<Op> {
    let kinds = vec![
        FileKind::Regular,
        FileKind::Regular,
        FileKind::Fifo,
        FileKind::Socket,
        FileKind::CharDevice,
        FileKind::BlockDevice,
    ];
    let kind = prop::sample::select(kinds);
    prop_oneof![
        3 => taken().prop_map(Op::Lookup),
        2 => pick().prop_map(Op::Forget),
        2 => (at(), kind, perm(), pick())
            .prop_map(|(at, kind, perm, caller)| Op::Mknod { at, kind, perm, caller }),
        4 => (at(), perm(), pick()).prop_map(|(at, perm, caller)| Op::Mkdir { at, perm, caller }),
        1 => (at(), prop_oneof![4 => 1..80_usize, 1 => 3000..4097_usize], pick())
            .prop_map(|(at, len, caller)| Op::Symlink { at, len, caller }),
        4 => (pick(), at()).prop_map(|(node, at)| Op::Link { node, at }),
        4 => taken().prop_map(Op::Unlink),
        3 => taken().prop_map(Op::Rmdir),
        10 => (taken(), prop_oneof![at(), taken()], rename_mode())
            .prop_map(|(from, to, mode)| Op::Rename { from, to, mode }),
        8 => (at(), perm(), pick(), opening())
            .prop_map(|(at, perm, caller, opening)| Op::Create { at, perm, caller, opening }),
    ]
    .boxed()
}

fn file_op() -> BoxedStrategy<Op> {
    let fill = prop_oneof![1 => Just(0_u8), 6 => any::<u8>()];
    let what = prop_oneof![Just(Seek::Data), Just(Seek::Hole)];
    prop_oneof![
        4 => (prop_oneof![at(), taken()], len(), any::<u8>())
            .prop_map(|(at, len, fill)| Op::Save { at, len, fill }),
        3 => (pick(), opening()).prop_map(|(node, opening)| Op::Open { node, opening }),
        4 => span().prop_map(Op::Read),
        14 => (span(), fill).prop_map(|(span, fill)| Op::Write { span, fill }),
        1 => pick().prop_map(Op::Flush),
        3 => pick().prop_map(Op::Release),
        3 => pick().prop_map(Op::Fsync),
        5 => (span(), allocate()).prop_map(|(span, mode)| Op::Fallocate { span, mode }),
        2 => (pick(), offset(), what)
            .prop_map(|(handle, offset, what)| Op::Seek { handle, offset, what }),
        3 => (span(), pick(), offset())
            .prop_map(|(from, to, to_offset)| Op::Copy { from, to, to_offset }),
        3 => (pick(), offset()).prop_map(|(node, size)| Op::Truncate { node, size }),
        4 => (pick(), offset()).prop_map(|(handle, size)| Op::TruncateOpen { handle, size }),
    ]
    .boxed()
}

fn attribute_op() -> BoxedStrategy<Op> {
    let id = || prop::option::of(prop::sample::select(vec![0_u32, 100, 1000, 70_000]));
    let time = || prop::option::of(pick());
    let value = prop_oneof![1 => Just(0_usize), 8 => 1..60_usize, 1 => 3900..70_000_usize];
    let mode = prop_oneof![
        4 => Just(XattrMode::Set),
        1 => Just(XattrMode::Create),
        1 => Just(XattrMode::Replace),
    ];
    let kind = prop_oneof![Just(AclKind::Access), Just(AclKind::Default)];
    let shape = prop_oneof![
        1 => Just(AclShape::None),
        1 => Just(AclShape::Minimal),
        4 => Just(AclShape::Named),
        1 => Just(AclShape::MaskOnly),
        1 => Just(AclShape::Malformed),
    ];
    prop_oneof![
        4 => (pick(), any_perm()).prop_map(|(node, perm)| Op::Chmod { node, perm }),
        2 => (pick(), id(), id()).prop_map(|(node, uid, gid)| Op::Chown { node, uid, gid }),
        2 => (pick(), time(), time())
            .prop_map(|(node, atime, mtime)| Op::SetTimes { node, atime, mtime }),
        4 => (pick(), pick(), value, mode)
            .prop_map(|(node, name, len, mode)| Op::SetXattr { node, name, len, mode }),
        2 => (pick(), pick()).prop_map(|(node, name)| Op::GetXattr { node, name }),
        1 => pick().prop_map(Op::ListXattr),
        2 => (pick(), pick()).prop_map(|(node, name)| Op::RemoveXattr { node, name }),
        4 => (pick(), kind, shape, perm())
            .prop_map(|(node, kind, shape, perm)| Op::SetAcl { node, kind, shape, perm }),
    ]
    .boxed()
}

fn listing_op() -> BoxedStrategy<Op> {
    prop_oneof![
        2 => pick().prop_map(Op::Opendir),
        3 => (pick(), 1..6_usize).prop_map(|(handle, count)| Op::Readdir { handle, count }),
        3 => (pick(), 1..6_usize).prop_map(|(handle, count)| Op::ReaddirPlus { handle, count }),
        1 => pick().prop_map(Op::Releasedir),
    ]
    .boxed()
}

fn volume_op() -> BoxedStrategy<Op> {
    prop_oneof![
        1 => Just(Op::Statfs),
        2 => Just(Op::Sync),
        4 => Just(Op::CheckAll),
        3 => Just(Op::Remount),
        6 => Just(Op::Crash),
    ]
    .boxed()
}

/// Any operation.
pub(crate) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        14 => namespace_op(),
        16 => file_op(),
        6 => attribute_op(),
        3 => listing_op(),
        2 => volume_op(),
    ]
}
