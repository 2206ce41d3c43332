//! What others change at the place of a file that is shared by itself.

use keyfold_fs::error::FsError;
use keyfold_fs::share::{
    Applied, At, Blob, BlobId, BlobKey, BlockChange, Change, Changes, LeafChange, NodeId, What,
    Written,
};
use keyfold_fs::vfs::{Timestamp, Vfs};

use super::{CROSS, content, ino, node, single, standing, vacant};
use crate::site::Site;

fn place() -> At {
    At {
        parent: NodeId::ROOT,
        name: b"Plan".to_vec(),
    }
}

fn beside() -> At {
    At {
        name: b"beside".to_vec(),
        ..place()
    }
}

fn made(at: At, id: u8) -> Change {
    Change::Make {
        at,
        node: NodeId([id; 16]),
        what: What::File,
        perm: 0o600,
        mtime: Timestamp::default(),
    }
}

fn apply(site: &Site, list: Vec<Change>) -> Result<Applied, FsError> {
    let changes = Changes {
        list,
        ..Changes::default()
    };
    site.v().apply_to_share(site.share, &changes)
}

#[test]
fn others_make_and_remove_the_file_at_its_place_alone() {
    let mut site = vacant();
    let r = site.root;
    let done = |applied| matches!(applied, Ok(Applied::Done(_)));
    assert!(done(apply(&site, vec![made(place(), 4)])));
    assert_eq!(node(&site), Some(NodeId([4; 16])));
    assert_eq!(apply(&site, vec![made(place(), 5)]), Err(FsError::Exists));
    let replaced = vec![Change::Remove { at: place() }, made(place(), 5)];
    assert!(done(apply(&site, replaced)));
    assert_eq!(node(&site), Some(NodeId([5; 16])));
    assert_eq!(standing(&site, NodeId([4; 16])), None);
    assert!(site.marks().is_empty());
    site.check();
    // What is here moves aside, and is a file of its own.
    let file = ino(&site, "Plan").unwrap();
    let aside = Change::Rename {
        from: place(),
        to: beside(),
    };
    assert!(done(apply(&site, vec![aside.clone(), made(place(), 6)])));
    assert_eq!(ino(&site, "beside"), Some(file));
    assert_eq!(site.member(file), None);
    assert_eq!(node(&site), Some(NodeId([6; 16])));
    assert_eq!(apply(&site, vec![aside]), Err(FsError::Exists));
    site.check();
    site.v().sync().unwrap();
    site.crash();
    site.check();
    assert_eq!(node(&site), Some(NodeId([6; 16])));
    site.file(r, "x", b"");
}

#[test]
fn nothing_else_that_others_could_say_changes_anything() {
    let site = single();
    let id = node(&site).unwrap();
    site.file(site.root, "beside", b"mine");
    let invalid = FsError::InvalidArgument;
    let directory = Change::Make {
        at: place(),
        node: NodeId([4; 16]),
        what: What::Directory,
        perm: 0o700,
        mtime: Timestamp::default(),
    };
    let within = At {
        parent: id,
        ..place()
    };
    let stamp = Change::SetAttributes {
        node: NodeId::ROOT,
        perm: Some(0o777),
        mtime: None,
    };
    let xattr = Change::SetXattr {
        node: NodeId::ROOT,
        name: b"user.x".to_vec(),
        value: Some(vec![1]),
    };
    let refused = [
        (made(beside(), 4), invalid),
        (directory, invalid),
        (made(within, 4), invalid),
        (
            Change::Link {
                at: beside(),
                node: id,
            },
            invalid,
        ),
        (Change::Remove { at: beside() }, invalid),
        (
            Change::Rename {
                from: beside(),
                to: place(),
            },
            invalid,
        ),
        (stamp, FsError::NotFound),
        (xattr, FsError::NotFound),
    ];
    for (change, error) in refused {
        assert_eq!(apply(&site, vec![change.clone()]), Err(error), "{change:?}");
    }
    assert_eq!(content(&site, ino(&site, "beside").unwrap()), b"mine");
    assert_eq!(node(&site), Some(id));
    site.check();
}

#[test]
fn a_file_that_is_not_all_here_does_not_leave() {
    let site = vacant();
    let r = site.root;
    let id = NodeId([4; 16]);
    let blob = BlobId([3; 32]);
    let block = BlockChange {
        position: 0,
        blob,
        slot: 0,
        sealed: None,
    };
    let written = Written {
        node: id,
        names: Vec::new(),
        size: 4096,
        mtime: Timestamp::default(),
        leaves: vec![LeafChange {
            index: 0,
            blocks: vec![block],
            holes: 0,
        }],
    };
    let changes = Changes {
        blobs: vec![Blob {
            id: blob,
            key: BlobKey::from_bytes([5; 32]),
            size: 4096,
            state: 0,
        }],
        list: vec![made(place(), 4), Change::Write(written)],
        ..Changes::default()
    };
    let applied = site.v().apply_to_share(site.share, &changes).unwrap();
    assert!(matches!(applied, Applied::Done(_)));
    let file = ino(&site, "Plan").unwrap();
    site.file(r, "o", b"x");
    assert_eq!(site.rename((r, "Plan"), (r, "away")), Err(CROSS));
    assert_eq!(site.exchange((r, "o"), (r, "Plan")), Err(CROSS));
    assert!(site.marks().is_empty());
    site.overwrite(file, 0, &[7; 4096]);
    site.rename((r, "Plan"), (r, "away")).unwrap();
    assert_eq!(content(&site, file), [7; 4096]);
    site.check();
}
