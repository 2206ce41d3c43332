//! What fuzzing drives: every decoder of bytes that somebody else may have written.
//!
//! Each target takes any bytes and panics when something holds that must not: a decoder that
//! accepts what its encoder would not write, or that panics itself.

use keyfold_crypto::{
    BLOCK_SIZE, Context, FileId, FileKey, KeyId, Label, RecoveryKey, SealKey, Sealed, Tag, Tweak,
};

use crate::layout::{
    BadLayout, BlobNameRow, BlobRow, BlockRow, ContentRow, DentryRow, FileKeyRow, InodeRow, Leaf,
    Mark, MemberRow, NodeRow, PinRow, RunOwner, SegmentRow, ShareRow, StateRow, decode_u64,
    encode_u64,
};

/// A target: what it is called, and what it does with some bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of this crate.
pub const TARGETS: [Target; 14] = [
    ("superblock", crate::vault::fuzzing::superblock),
    ("superblock-copies", crate::vault::fuzzing::copies),
    ("slot", crate::vault::fuzzing::slot),
    ("pin", crate::vault::fuzzing::pin),
    ("row", row),
    ("share-row", share_row),
    ("leaf", leaf),
    ("journal", crate::data::fuzzing::journal),
    ("journal-record", crate::meta::fuzzing::record),
    ("sealed", sealed),
    ("block", block),
    ("recovery-key", recovery_key),
    ("acl", crate::volume::fuzzing::acl),
    ("database", crate::volume::fuzzing::database),
];

/// The first byte says which layout the others are.
fn row(bytes: &[u8]) {
    let Some((which, row)) = bytes.split_first() else {
        return;
    };
    let again = match which % 10 {
        0 => InodeRow::decode(row).map(|r| r.encode()),
        1 => ContentRow::decode(row).map(|r| r.encode()),
        2 => DentryRow::decode(row).map(|r| r.encode()),
        3 => FileKeyRow::decode(row).map(|key| FileKeyRow::encode(&key)),
        4 => BlockRow::decode(row).map(|r| BlockRow::encode(r.ino, r.block, &r.ciphertext)),
        5 => SegmentRow::decode(row).map(|r| {
            assert!(r.live() <= r.committed);
            r.encode()
        }),
        6 => RunOwner::decode_all(row).map(|runs| RunOwner::encode_all(&runs)),
        7 => StateRow::decode(row).map(|r| r.encode()),
        8 => PinRow::decode(row).map(|r| r.encode()),
        _ => decode_u64(row).map(encode_u64),
    };
    assert_same(again, row);
}

/// The first byte says which layout the others are.
fn share_row(bytes: &[u8]) {
    let Some((which, row)) = bytes.split_first() else {
        return;
    };
    let again = match which % 6 {
        0 => ShareRow::decode(row).map(|r| r.encode()),
        1 => NodeRow::decode(row).map(|r| r.encode()),
        2 => MemberRow::decode(row).map(|r| r.encode()),
        3 => Mark::decode(row).map(|r| r.encode()),
        4 => BlobRow::decode(row).map(|r| r.encode()),
        _ => BlobNameRow::decode(row).map(|r| r.encode()),
    };
    assert_same(again, row);
}

fn leaf(bytes: &[u8]) {
    let leaf = Leaf::decode(bytes);
    if let Ok(leaf) = &leaf {
        let mut copy = Leaf::default();
        for (position, entry) in leaf.used() {
            copy.set(position, *entry);
        }
        assert!(copy == *leaf, "a leaf is its used entries");
    }
    assert_same(leaf.map(|l| l.encode()), bytes);
}

/// What decodes is what encodes, to the byte.
fn assert_same(again: Result<Box<[u8]>, BadLayout>, bytes: &[u8]) {
    if let Ok(again) = again {
        assert!(*again == *bytes, "accepted, and written otherwise");
    }
}

/// Nothing that was not sealed opens, and what was sealed opens nowhere else.
fn sealed(bytes: &[u8]) {
    let key = SealKey::from_bytes([3; 32]);
    let context = Context::new(Label::SLOT).bytes(b"here");
    assert!(keyfold_crypto::open(&key, &context, bytes).is_err());
    let Ok(sealed) = keyfold_crypto::seal(&key, &context, bytes) else {
        return;
    };
    let opened = keyfold_crypto::open(&key, &context, &sealed);
    assert!(opened.is_ok_and(|opened| **opened == *bytes));
    let elsewhere = Context::new(Label::SLOT).bytes(b"there");
    assert!(keyfold_crypto::open(&key, &elsewhere, &sealed).is_err());
}

/// `block index(8) flips: (what(1) offset(2) mask(1))...`: a sealed block with anything about it
/// changed does not open, by neither implementation.
fn block(bytes: &[u8]) {
    let Some((index, flips)) = bytes.split_first_chunk::<8>() else {
        return;
    };
    let index = u64::from_le_bytes(*index);
    let cipher = FileKey::from_parts(KeyId([1; 16]), [2; 32]).cipher();
    let plain: Vec<u8> = (0..BLOCK_SIZE).map(|i| (i % 251) as u8).collect();
    let mut data = plain.clone();
    let mut seal = [Sealed {
        tweak: Tweak([0; 16]),
        tag: Tag([0; 32]),
    }];
    let sealed = cipher.seal_run(&FileId([5; 16]), &[index], &mut data, &mut seal);
    let (whole, before) = ((data.clone(), seal, index, [5; 16]), sealed.is_ok());
    let mut now = whole.clone();
    for flip in flips.as_chunks::<4>().0.iter().take(64) {
        let [what, low, high, mask] = *flip;
        let at = usize::from(u16::from_le_bytes([low, high]));
        match what % 5 {
            0 => now.0[at % BLOCK_SIZE] ^= mask,
            1 => now.1[0].tweak.0[at % 16] ^= mask,
            2 => now.1[0].tag.0[at % 32] ^= mask,
            3 => now.2 ^= u64::from(mask) << (at % 57),
            _ => now.3[at % 16] ^= mask,
        }
    }
    let same = now == whole && before;
    let (data, [seal], index, file) = now;
    let mut bulk = data.clone();
    let opened = cipher.open_run(&FileId(file), &[(index, seal)], &mut bulk);
    assert_eq!(opened.is_ok(), same);
    let mut reference: [u8; BLOCK_SIZE] = [0; BLOCK_SIZE];
    reference.copy_from_slice(&data);
    let again = cipher.open_block_reference(&FileId(file), index, &seal, &mut reference);
    assert_eq!(again.is_ok(), same);
    assert!(!same || (bulk == plain && reference[..] == plain[..]));
}

fn recovery_key(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(key) = RecoveryKey::parse(text) {
        let words = key.to_words();
        let again = RecoveryKey::parse(&words).map(|key| key.to_words());
        assert!(again.is_ok_and(|again| *again == *words));
    }
}
