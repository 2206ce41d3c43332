//! A share of a single file is what lies at a place, however it comes there.

#[path = "single/others.rs"]
mod others;
#[path = "single/random.rs"]
mod random;

use keyfold_fs::error::FsError;
use keyfold_fs::share::{Access, BeginError, Kept, Mark, NodeId, ShareId, Standing};
use keyfold_fs::vfs::{FileKind, FileRange, Ino, NewNode, RenameMode, Vfs};

use crate::site::{CALLER, RO, RW, SHARE, Site, at, entry};

const TOP: Ino = Ino::ROOT;
const BUSY: FsError = FsError::Busy;
const CROSS: FsError = FsError::CrossTree;

/// A volume whose file `dir/Plan` is shared by itself.
fn single() -> Site {
    let mut site = Site::plain();
    site.root = site.mkdir(TOP, "dir");
    site.file(site.root, "Plan", b"first");
    begin(&mut site);
    site
}

/// The same, in which there is none now.
fn vacant() -> Site {
    let site = single();
    site.v().unlink(at(site.root, "Plan")).unwrap();
    site.marks();
    site
}

fn begin(site: &mut Site) {
    let place = at(site.root, "Plan");
    site.share = site.v().begin_single_share(SHARE, place, b"").unwrap();
}

fn ino(site: &Site, name: &str) -> Option<Ino> {
    let entry = site.v().lookup(at(site.root, name)).ok()?;
    site.v().forget(entry.attr.ino, 1);
    Some(entry.attr.ino)
}

fn content(site: &Site, ino: Ino) -> Vec<u8> {
    let handle = site.open(ino, RO);
    let mut data = vec![0; site.v().getattr(ino).unwrap().size as usize];
    let range = FileRange {
        ino,
        handle,
        offset: 0,
    };
    let read = site.v().read(range, &mut data).unwrap();
    site.close(ino, handle);
    data.truncate(read);
    data
}

/// The node at the place.
fn node(site: &Site) -> Option<NodeId> {
    site.member(ino(site, "Plan")?)
}

fn standing(site: &Site, node: NodeId) -> Option<Standing> {
    let known = site.v().share_node(site.share, node).unwrap();
    known.map(|known| known.standing)
}

#[track_caller]
fn expect(site: &Site, marks: &[Mark]) {
    assert_eq!(site.marks(), marks.iter().cloned().collect());
}

#[test]
fn what_lies_at_the_place_is_in_the_share_and_nothing_else_is() {
    let mut site = single();
    let (r, plan) = (site.root, ino(&site, "Plan").unwrap());
    let other = site.file(r, "other", b"x");
    for _ in 0..2 {
        assert!(site.member(plan).is_some());
        assert_eq!((site.member(other), site.member(r)), (None, None));
        let info = &site.v().shares().unwrap()[0];
        assert_eq!((info.id, info.root), (SHARE, r));
        assert_eq!(info.name.as_deref(), Some(&b"Plan"[..]));
        assert_eq!(site.v().path_of_share(info).unwrap(), b"dir/Plan");
        assert_eq!(site.v().share_nodes(site.share).unwrap().len(), 1);
        assert!(site.marks().is_empty());
        site.check();
        site.remount();
    }
    site.rename((r, "other"), (r, "another")).unwrap();
    site.v().unlink(at(r, "another")).unwrap();
    assert!(site.marks().is_empty(), "what lies beside marks nothing");
    site.overwrite(plan, 0, b"F");
    expect(&site, &[Mark::Content(plan)]);
}

#[test]
fn a_file_that_is_renamed_over_the_shared_one_takes_its_place() {
    let mut site = single();
    let r = site.root;
    let (old, old_node) = (ino(&site, "Plan").unwrap(), node(&site).unwrap());
    let new = site.file(r, "Plan.tmp", b"second");
    site.rename((r, "Plan.tmp"), (r, "Plan")).unwrap();
    expect(&site, &[entry(r, "Plan"), Mark::Content(new)]);
    assert_eq!(standing(&site, old_node), Some(Standing::Gone));
    assert!(site.member(new).is_some());
    assert_ne!(old, new);
    site.check();
    site.v().sync().unwrap();
    site.crash();
    assert_eq!(content(&site, ino(&site, "Plan").unwrap()), b"second");
    assert!(site.member(new).is_some());
    // From another directory, too.
    let far = site.file(TOP, "far", b"third");
    site.rename((TOP, "far"), (r, "Plan")).unwrap();
    expect(&site, &[entry(r, "Plan"), Mark::Content(far)]);
    site.check();
}

#[test]
fn a_file_that_leaves_is_one_of_its_own_and_another_may_come() {
    let mut site = single();
    let r = site.root;
    let (old, old_node) = (ino(&site, "Plan").unwrap(), node(&site).unwrap());
    site.rename((r, "Plan"), (r, "Plan~")).unwrap();
    expect(&site, &[entry(r, "Plan")]);
    assert_eq!(site.member(old), None);
    assert_eq!(standing(&site, old_node), Some(Standing::Gone));
    site.overwrite(old, 0, b"private");
    assert!(site.marks().is_empty());
    site.check();
    let new = site.file(r, "Plan", b"second");
    expect(&site, &[entry(r, "Plan"), Mark::Content(new)]);
    site.v().unlink(at(r, "Plan~")).unwrap();
    assert!(site.marks().is_empty());
    site.check();
    site.remount();
    assert_eq!(standing(&site, old_node), Some(Standing::Gone));
    let forget = Kept {
        nodes: vec![(old_node, None)],
        ..Kept::default()
    };
    site.v().keep_of_share(site.share, &forget).unwrap();
    assert_eq!(standing(&site, old_node), None);
    assert!(site.member(new).is_some());
    site.check();
}

#[test]
fn a_file_that_comes_back_is_the_same_node_and_its_content_is_marked() {
    let site = single();
    let r = site.root;
    let (file, same) = (ino(&site, "Plan").unwrap(), node(&site).unwrap());
    let kept = Kept {
        nodes: vec![(same, Some([5].into()))],
        ..Kept::default()
    };
    site.v().keep_of_share(site.share, &kept).unwrap();
    site.rename((r, "Plan"), (TOP, "away")).unwrap();
    site.overwrite(file, 0, b"changed");
    site.marks();
    site.rename((TOP, "away"), (r, "Plan")).unwrap();
    expect(&site, &[entry(r, "Plan"), Mark::Content(file)]);
    let info = site.v().share_node(site.share, same).unwrap().unwrap();
    assert_eq!(
        (info.ino, info.standing, &*info.data),
        (file, Standing::Here, &[5][..])
    );
    site.check();
}

#[test]
fn files_that_change_places_come_and_leave_at_once() {
    let site = single();
    let r = site.root;
    let (one, other) = (ino(&site, "Plan").unwrap(), site.file(r, "o", b"other"));
    site.exchange((r, "o"), (r, "Plan")).unwrap();
    expect(&site, &[entry(r, "Plan"), Mark::Content(other)]);
    assert_eq!(
        (site.member(one), site.member(other).is_some()),
        (None, true)
    );
    site.check();
    site.exchange((r, "Plan"), (r, "o")).unwrap();
    expect(&site, &[entry(r, "Plan"), Mark::Content(one)]);
    assert_eq!(
        (site.member(one).is_some(), site.member(other)),
        (true, None)
    );
    site.rename((r, "Plan"), (r, "o")).unwrap();
    assert_eq!(site.member(one), None);
    site.check();
}

#[test]
fn nothing_but_a_file_with_one_name_comes_to_the_place() {
    let mut site = vacant();
    let r = site.root;
    let v = site.v();
    assert_eq!(v.mkdir(&CALLER, at(r, "Plan"), 0o755).map(drop), Err(BUSY));
    let link = v.symlink(&CALLER, at(r, "Plan"), b"x");
    assert_eq!(link.map(drop), Err(BUSY));
    let fifo = NewNode {
        kind: FileKind::Fifo,
        perm: 0o600,
        rdev: 0,
    };
    let fifo = v.mknod(&CALLER, at(r, "Plan"), fifo);
    assert_eq!(fifo.map(drop), Err(BUSY));
    site.mkdir(r, "d");
    assert_eq!(site.rename((r, "d"), (r, "Plan")), Err(BUSY));
    let two = site.file(r, "two", b"x");
    assert_eq!(v.link(two, at(r, "Plan")).map(drop), Err(CROSS));
    v.link(two, at(r, "names")).unwrap();
    assert_eq!(site.rename((r, "two"), (r, "Plan")), Err(CROSS));
    let shared = site.mkdir(TOP, "shared");
    let inside = site.file(shared, "f", b"x");
    v.begin_share(ShareId([9; 32]), shared, b"").unwrap();
    assert_eq!(site.rename((shared, "f"), (r, "Plan")), Err(CROSS));
    assert_eq!(v.link(inside, at(r, "Plan")).map(drop), Err(CROSS));
    assert!(site.marks().is_empty());
    let plan = site.file(r, "Plan", b"back");
    assert_eq!(site.exchange((r, "Plan"), (r, "d")), Err(BUSY));
    assert_eq!(site.exchange((r, "d"), (r, "Plan")), Err(BUSY));
    assert_eq!(site.rename((r, "Plan"), (shared, "g")), Err(CROSS));
    assert_eq!(site.v().link(plan, at(r, "again")).map(drop), Err(CROSS));
    assert_eq!(
        site.v().link(plan, at(shared, "again")).map(drop),
        Err(CROSS)
    );
    site.check();
    site.remount();
    site.check();
}

#[test]
fn the_directory_of_the_place_moves_and_stays() {
    let mut site = vacant();
    let r = site.root;
    assert_eq!(site.v().rmdir(at(TOP, "dir")), Err(BUSY));
    site.mkdir(TOP, "empty");
    assert_eq!(site.rename((TOP, "empty"), (TOP, "dir")), Err(BUSY));
    let out = site.mkdir(TOP, "out");
    site.rename((TOP, "dir"), (out, "moved")).unwrap();
    assert!(site.marks().is_empty());
    site.remount();
    let info = &site.v().shares().unwrap()[0];
    assert_eq!(site.v().path_of_share(info).unwrap(), b"out/moved/Plan");
    let file = site.file(r, "Plan", b"x");
    assert!(site.member(file).is_some());
    site.v().unlink(at(r, "Plan")).unwrap();
    site.v().end_share(site.share).unwrap();
    site.v().rmdir(at(out, "moved")).unwrap();
    site.check();
}

#[test]
fn a_share_of_a_file_lies_in_no_other_and_has_a_place_of_its_own() {
    let site = single();
    let (r, other) = (site.root, ShareId([9; 32]));
    let busy = Err(BeginError::Volume(BUSY));
    let v = site.v();
    assert_eq!(v.begin_single_share(other, at(r, "Plan"), b""), busy);
    assert_eq!(v.begin_single_share(SHARE, at(r, "b"), b""), busy);
    assert_eq!(v.begin_share(other, r, b""), busy);
    assert_eq!(v.begin_share(other, TOP, b""), busy);
    v.unlink(at(r, "Plan")).unwrap();
    assert_eq!(v.begin_share(other, r, b""), busy, "though it is vacant");
    let dir = site.mkdir(TOP, "shared");
    v.begin_share(other, dir, b"").unwrap();
    let third = ShareId([3; 32]);
    assert_eq!(v.begin_single_share(third, at(dir, "f"), b""), busy);
    assert_eq!(site.rename((TOP, "dir"), (dir, "in")), Err(CROSS));
    let wrong = v.begin_single_share(third, at(TOP, "shared"), b"");
    assert_eq!(wrong, Err(BeginError::Volume(FsError::WrongKind(dir))));
    let two = site.file(r, "two", b"x");
    v.link(two, at(TOP, "names")).unwrap();
    let Err(BeginError::LinkedOutside(outside)) = v.begin_single_share(third, at(r, "two"), b"")
    else {
        panic!("it has another name");
    };
    assert_eq!((outside[0].ino, &*outside[0].path), (two, &b"two"[..]));
    // Two in one directory.
    v.unlink(at(TOP, "names")).unwrap();
    v.begin_single_share(third, at(r, "two"), b"").unwrap();
    assert_eq!(site.rename((r, "two"), (r, "Plan")), Err(CROSS));
    site.check();
}

#[test]
fn a_place_that_may_only_be_read_refuses_every_change() {
    let site = single();
    let (r, plan) = (site.root, ino(&site, "Plan").unwrap());
    site.file(r, "o", b"x");
    site.v().set_share_access(site.share, Access::ReadOnly);
    let no = Err(FsError::ReadOnly);
    assert_eq!(site.rename((r, "Plan"), (r, "away")), no);
    assert_eq!(site.rename((r, "o"), (r, "Plan")), no);
    assert_eq!(site.exchange((r, "o"), (r, "Plan")), no);
    assert_eq!(site.v().unlink(at(r, "Plan")), no);
    assert_eq!(site.truncate(plan, 0), no);
    assert_eq!(site.v().open(plan, RW).map(drop), no);
    site.v().set_share_access(site.share, Access::Full);
    site.v().unlink(at(r, "Plan")).unwrap();
    site.v().set_share_access(site.share, Access::ReadOnly);
    let made = site.v().create(&CALLER, at(r, "Plan"), 0o644, RW);
    assert_eq!(made.map(drop), no);
    assert_eq!(site.rename((r, "o"), (r, "Plan")), no);
    site.rename((r, "o"), (r, "p")).unwrap();
}

#[test]
fn a_crash_leaves_a_file_shared_or_not() {
    for committed in [false, true] {
        let mut site = Site::plain();
        site.root = site.mkdir(TOP, "dir");
        let plan = site.file(site.root, "Plan", b"first");
        site.v().sync().unwrap();
        begin(&mut site);
        if committed {
            site.v().sync().unwrap();
        }
        site.crash();
        assert_eq!(site.v().shares().unwrap().len(), usize::from(committed));
        assert_eq!(site.member(plan).is_some(), committed);
        let busy = site.v().mkdir(&CALLER, at(TOP, "n"), 0o755).is_err();
        assert!(!busy);
        site.check();
    }
}

#[test]
fn a_crash_leaves_what_came_and_what_left_together_with_their_marks() {
    for committed in [false, true] {
        let mut site = single();
        let r = site.root;
        let old = ino(&site, "Plan").unwrap();
        let new = site.file(r, "tmp", b"second");
        site.v().sync().unwrap();
        site.rename((r, "Plan"), (r, "Plan~")).unwrap();
        site.rename((r, "tmp"), (r, "Plan")).unwrap();
        if committed {
            site.v().sync().unwrap();
        }
        site.crash();
        assert_eq!(site.member(old).is_some(), !committed);
        assert_eq!(site.member(new).is_some(), committed);
        let marked = [entry(r, "Plan"), Mark::Content(new)];
        expect(&site, if committed { &marked } else { &[] });
        site.check();
    }
}

#[test]
fn moving_with_no_replacing_keeps_what_is_at_the_place() {
    let site = single();
    let r = site.root;
    site.file(r, "o", b"x");
    let no = RenameMode::NoReplace;
    let moved = site.v().rename(at(r, "o"), at(r, "Plan"), no);
    assert_eq!(moved, Err(FsError::Exists));
    assert!(site.marks().is_empty());
}
