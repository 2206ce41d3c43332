//! A share begins whole or not at all, and ends leaving the files.

use std::collections::BTreeSet;

use keyfold_fs::error::FsError;
use keyfold_fs::share::{BeginError, NodeId, ShareId};
use keyfold_fs::vfs::{Ino, Vfs};

use crate::site::{CALLER, SHARE, Site, at};

const TOP: Ino = Ino::ROOT;

/// Directories in one another with files, links among them.
fn tree(site: &Site) -> (Ino, Vec<Ino>) {
    let root = site.mkdir(TOP, "tree");
    let mut all = vec![root];
    let mut dir = root;
    for depth in 0..4 {
        for n in 0..300 / (depth * depth * 20 + 1) {
            all.push(site.file(dir, &format!("f{n}"), b"content"));
        }
        let link = site.v().symlink(&CALLER, at(dir, "link"), b"f0").unwrap();
        all.push(link.attr.ino);
        dir = site.mkdir(dir, "dir");
        all.push(dir);
    }
    (root, all)
}

#[test]
fn everything_in_the_subtree_becomes_a_node_of_its_own() {
    let mut site = Site::plain();
    let (root, all) = tree(&site);
    site.share = site.v().begin_share(SHARE, root, b"mine").unwrap();
    site.root = root;
    let nodes: BTreeSet<NodeId> = all.iter().map(|ino| site.member(*ino).unwrap()).collect();
    assert_eq!(nodes.len(), all.len());
    assert_eq!(site.member(root), Some(NodeId::ROOT));
    assert_eq!(site.v().share_nodes(site.share).unwrap().len(), all.len());
    assert_eq!(site.member(TOP), None);
    assert!(site.marks().is_empty(), "what there was is not a change");
    site.check();
    site.remount();
    let info = &site.v().shares().unwrap()[0];
    assert_eq!(
        (info.id, info.root, &*info.data),
        (SHARE, root, &b"mine"[..])
    );
    site.mkdir(root, "new");
    assert_eq!(site.marks().len(), 1);
}

#[test]
fn a_crash_leaves_the_whole_share_or_nothing_of_it() {
    for committed in [false, true] {
        let mut site = Site::plain();
        let (root, all) = tree(&site);
        site.v().sync().unwrap();
        site.share = site.v().begin_share(SHARE, root, b"").unwrap();
        if committed {
            site.v().sync().unwrap();
        }
        site.crash();
        assert_eq!(site.v().shares().unwrap().len(), usize::from(committed));
        for ino in all {
            assert_eq!(site.member(ino).is_some(), committed);
        }
        site.check();
    }
}

#[test]
fn links_from_outside_are_named_and_nothing_is_shared() {
    let site = Site::plain();
    let root = site.mkdir(TOP, "tree");
    let sub = site.mkdir(root, "sub");
    let both = site.file(sub, "both", b"x");
    let within = site.file(root, "within", b"x");
    site.v().link(both, at(TOP, "outside")).unwrap();
    site.v().link(within, at(sub, "again")).unwrap();
    let Err(BeginError::LinkedOutside(outside)) = site.v().begin_share(SHARE, root, b"") else {
        panic!("it has a name outside");
    };
    assert_eq!(outside.len(), 1);
    assert_eq!(
        (outside[0].ino, &*outside[0].path),
        (both, &b"sub/both"[..])
    );
    assert!(site.v().shares().unwrap().is_empty());
    assert_eq!(site.member(within), None);
    site.v().unlink(at(TOP, "outside")).unwrap();
    site.v().begin_share(SHARE, root, b"").unwrap();
    site.check();
}

#[test]
fn shares_do_not_lie_in_one_another() {
    let site = Site::shared();
    let busy = Err(BeginError::Volume(FsError::Busy));
    let other = ShareId([9; 32]);
    let sub = site.mkdir(site.root, "sub");
    assert_eq!(site.v().begin_share(other, sub, b""), busy);
    assert_eq!(site.v().begin_share(other, site.root, b""), busy);
    assert_eq!(site.v().begin_share(other, TOP, b""), busy);
    let free = site.mkdir(TOP, "free");
    assert_eq!(
        site.v().begin_share(SHARE, free, b""),
        busy,
        "shared already"
    );
    let file = site.file(TOP, "f", b"");
    assert_eq!(
        site.v().begin_share(other, file, b""),
        Err(BeginError::Volume(FsError::NotADirectory(file)))
    );
    site.v().begin_share(other, free, b"").unwrap();
    site.check();
}

#[test]
fn a_share_that_ended_leaves_files_and_no_rows() {
    let mut site = Site::shared();
    let file = site.file(site.root, "f", b"content");
    site.v().end_share(site.share).unwrap();
    assert!(site.v().shares().unwrap().is_empty());
    assert_eq!(site.member(file), None);
    assert!(site.v().take_marks(site.share).unwrap().is_empty());
    site.overwrite(file, 0, b"C");
    site.check();
    site.remount();
    site.rename((site.root, "f"), (TOP, "f")).unwrap();
    site.v().rmdir(at(TOP, "shared")).unwrap();
    site.check();
}
