//! Nothing moves or is linked across the edge of a share.

use keyfold_fs::error::FsError;
use keyfold_fs::share::ShareId;
use keyfold_fs::vfs::{Ino, RenameMode, Vfs};

use crate::site::{Site, at};

const TOP: Ino = Ino::ROOT;

#[test]
fn moving_across_the_edge_is_refused_both_ways() {
    let site = Site::shared();
    let r = site.root;
    let out = site.mkdir(TOP, "out");
    site.file(out, "f", b"x");
    site.file(r, "g", b"y");
    site.mkdir(out, "d");
    site.mkdir(r, "e");
    let cross = Err(FsError::CrossTree);
    assert_eq!(site.rename((out, "f"), (r, "f")), cross);
    assert_eq!(site.rename((out, "f"), (r, "g")), cross);
    assert_eq!(site.rename((r, "g"), (out, "g")), cross);
    assert_eq!(site.rename((out, "d"), (r, "d")), cross);
    assert_eq!(site.rename((r, "e"), (out, "e")), cross);
    assert_eq!(site.exchange((out, "f"), (r, "g")), cross);
    assert_eq!(site.exchange((r, "g"), (out, "f")), cross);
    assert_eq!(site.exchange((r, "e"), (out, "d")), cross);
    assert!(site.marks().len() < 4);
    site.check();
}

#[test]
fn linking_across_the_edge_is_refused_both_ways() {
    let site = Site::shared();
    let out = site.file(TOP, "f", b"x");
    let inside = site.file(site.root, "g", b"y");
    let cross = FsError::CrossTree;
    assert_eq!(site.v().link(out, at(site.root, "h")).unwrap_err(), cross);
    assert_eq!(site.v().link(inside, at(TOP, "h")).unwrap_err(), cross);
    site.v().link(inside, at(site.root, "h")).unwrap();
    site.v().link(out, at(TOP, "h")).unwrap();
}

#[test]
fn two_shares_have_an_edge_between_them() {
    let site = Site::shared();
    let other = site.mkdir(TOP, "other");
    site.v().begin_share(ShareId([8; 32]), other, b"").unwrap();
    let file = site.file(site.root, "f", b"x");
    let cross = Err(FsError::CrossTree);
    assert_eq!(site.rename((site.root, "f"), (other, "f")), cross);
    assert_eq!(
        site.v().link(file, at(other, "f")).map(drop),
        Err(FsError::CrossTree)
    );
    // One into the other.
    assert_eq!(site.rename((TOP, "other"), (site.root, "o")), cross);
    let nest = site.mkdir(TOP, "nest");
    site.rename((TOP, "other"), (nest, "other")).unwrap();
    assert_eq!(site.rename((TOP, "nest"), (site.root, "n")), cross);
}

#[test]
fn the_root_of_a_share_moves_outside_and_is_not_removed() {
    let site = Site::shared();
    let out = site.mkdir(TOP, "out");
    assert_eq!(site.v().rmdir(at(TOP, "shared")), Err(FsError::Busy));
    site.mkdir(TOP, "empty");
    assert_eq!(
        site.rename((TOP, "empty"), (TOP, "shared")),
        Err(FsError::Busy),
        "to be replaced is to be removed"
    );
    site.exchange((TOP, "empty"), (TOP, "shared")).unwrap();
    site.rename((TOP, "empty"), (out, "moved")).unwrap();
    let no = RenameMode::NoReplace;
    site.v()
        .rename(at(out, "moved"), at(TOP, "back"), no)
        .unwrap();
    site.file(site.root, "f", b"x");
    assert_eq!(site.marks().len(), 2);
    site.check();
}
