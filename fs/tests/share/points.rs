//! A directory of a share becomes a share of its own where it is: a point of the other.

use std::collections::BTreeSet;

use keyfold_fs::error::FsError;
use keyfold_fs::share::{
    At, BeginError, Change, Changes, Kept, LinkedOutside, Mark, NodeId, Outdated, ShareId,
    ShareNumber, Standing, What, Within,
};
use keyfold_fs::vfs::{FileRange, Ino, Timestamp, Vfs};

use crate::apply::pair;
use crate::site::{CALLER, RW, SHARE, Site, at, entry, pattern};
use crate::trees::read;

#[path = "points/random.rs"]
mod random;

const TOP: Ino = Ino::ROOT;
const INNER: ShareId = ShareId([8; 32]);
const BUSY: FsError = FsError::Busy;
const POINT: NodeId = NodeId([3; 16]);

/// A share `shared` with `sub`, in which are `file`, `dir/deep` and `link`.
struct Nested {
    site: Site,
    sub: Ino,
    /// All that is in it.
    below: Vec<Ino>,
}

impl Nested {
    fn new() -> Self {
        let site = Site::shared();
        let sub = site.mkdir(site.root, "sub");
        let dir = site.mkdir(sub, "dir");
        let link = site.v().symlink(&CALLER, at(sub, "link"), b"file");
        let below = vec![
            site.file(sub, "file", &pattern(300_000, 1)),
            dir,
            site.file(dir, "deep", b"deep"),
            link.unwrap().attr.ino,
        ];
        site.file(site.root, "beside", b"beside");
        Self { site, sub, below }
    }

    fn begin(&self) -> ShareNumber {
        let begun = self.site.v().begin_share_within(INNER, self.sub, b"mine");
        begun.unwrap()
    }

    fn share_of(&self, ino: Ino) -> Option<ShareNumber> {
        let member = self.site.v().share_member(ino).unwrap();
        member.map(|(share, _)| share)
    }

    /// Whether everything in the directory is in this share.
    fn is_in(&self, share: ShareNumber) -> bool {
        self.below
            .iter()
            .all(|ino| self.share_of(*ino) == Some(share))
    }
}

fn within(site: &Site, id: ShareId) -> Option<Within> {
    let shares = site.v().shares().unwrap();
    shares.iter().find(|info| info.id == id).unwrap().within
}

/// Takes the marks of a share, and says that all of them are done with.
fn marks(site: &Site, share: ShareNumber) -> BTreeSet<Mark> {
    let taken = site.v().take_marks(share).unwrap();
    let kept = Kept {
        confirmed: taken.iter().map(|m| m.number).collect(),
        ..Kept::default()
    };
    site.v().keep_of_share(share, &kept).unwrap();
    taken.into_iter().map(|m| m.mark).collect()
}

fn point(parent: NodeId, name: &str, node: NodeId, id: ShareId) -> Change {
    Change::Make {
        at: At {
            parent,
            name: name.into(),
        },
        node,
        what: What::Point(id),
        perm: 0o700,
        mtime: Timestamp::default(),
    }
}

fn apply(site: &Site, list: Vec<Change>) -> Result<keyfold_fs::share::Applied, FsError> {
    let changes = Changes {
        list,
        ..Changes::default()
    };
    site.v().apply_to_share(site.share, &changes)
}

#[test]
fn a_directory_of_a_share_becomes_one_where_it_is_and_stays_in_use() {
    let mut nested = Nested::new();
    let [file, ..] = nested.below[..] else {
        panic!("it has a file")
    };
    let handle = nested.site.open(file, RW);
    let nodes: Vec<_> = nested
        .below
        .iter()
        .map(|i| nested.site.member(*i))
        .collect();
    nested.site.marks();
    nested.site.write(file, handle, 0, b"before").unwrap();
    let inner = nested.begin();
    nested.site.write(file, handle, 6, b" after").unwrap();
    assert!(nested.is_in(inner) && nested.share_of(nested.sub) == Some(inner));
    let node = |ino: &Ino| {
        nested
            .site
            .v()
            .share_member(*ino)
            .unwrap()
            .map(|(_, node)| node)
    };
    let after: Vec<_> = nested.below.iter().map(node).collect();
    assert_eq!(after, nodes, "nodes keep their ids");
    // The parent is told of the name, and of nothing that is in the other share.
    let root = nested.site.root;
    assert_eq!(nested.site.marks(), [entry(root, "sub")].into());
    assert_eq!(marks(&nested.site, inner), [Mark::Content(file)].into());
    let found = nested.site.v().view_entry(root, b"sub").unwrap().unwrap();
    let share = nested.site.share;
    let said = Within {
        share,
        point: found.node,
    };
    assert_eq!(
        (found.point, within(&nested.site, INNER)),
        (Some(INNER), Some(said))
    );
    let node = nested
        .site
        .v()
        .share_node(share, found.node)
        .unwrap()
        .unwrap();
    assert_eq!((node.ino, node.standing), (nested.sub, Standing::Here));
    nested.site.close(file, handle);
    nested.site.check();
    nested.site.remount();
    nested.site.check();
    assert_eq!(read(&nested.site, file)[..12], *b"before after");
    assert_eq!(within(&nested.site, INNER), Some(said));
    nested.site.mkdir(nested.sub, "new");
    assert_eq!(
        marks(&nested.site, inner),
        [entry(nested.sub, "new")].into()
    );
    assert!(nested.site.marks().is_empty());
}

#[test]
fn a_crash_leaves_the_whole_point_or_nothing_of_it() {
    for committed in [false, true] {
        let mut nested = Nested::new();
        nested.site.v().sync().unwrap();
        let (outer, inner) = (nested.site.share, nested.begin());
        if committed {
            nested.site.v().sync().unwrap();
        }
        nested.site.crash();
        assert!(nested.is_in(if committed { inner } else { outer }));
        assert_eq!(
            nested.site.v().shares().unwrap().len(),
            1 + usize::from(committed)
        );
        nested.site.check();
    }
}

#[test]
fn ending_gives_the_parent_all_of_it_back_as_it_was_and_a_crash_all_or_nothing() {
    for committed in [false, true] {
        let mut nested = Nested::new();
        let outer = nested.site.share;
        let kept = Kept {
            nodes: vec![(
                nested.site.member(nested.below[0]).unwrap(),
                Some([7].into()),
            )],
            ..Kept::default()
        };
        nested.site.v().keep_of_share(outer, &kept).unwrap();
        let before = nested.site.v().share_nodes(outer).unwrap();
        let inner = nested.begin();
        nested.site.marks();
        nested.site.v().sync().unwrap();
        nested.site.v().end_share(inner).unwrap();
        if committed {
            nested.site.v().sync().unwrap();
        }
        nested.site.crash();
        nested.site.check();
        if !committed {
            assert!(nested.is_in(inner));
            continue;
        }
        assert!(nested.is_in(outer) && nested.site.v().shares().unwrap().len() == 1);
        let nodes = nested.site.v().share_nodes(outer).unwrap().into_iter();
        let (here, gone): (Vec<_>, Vec<_>) = nodes.partition(|n| n.standing == Standing::Here);
        assert_eq!(here, before, "with what was kept of each");
        assert_eq!(gone.len(), 1, "the point");
        let files = [nested.below[0], nested.below[2]].map(Mark::Content);
        let name = entry(nested.site.root, "sub");
        assert_eq!(
            nested.site.marks(),
            files.into_iter().chain([name]).collect()
        );
        nested.site.overwrite(nested.below[0], 0, b"x");
        assert_eq!(nested.site.marks(), [Mark::Content(nested.below[0])].into());
    }
}

#[test]
fn the_edge_of_a_share_within_another_is_an_edge() {
    let nested = Nested::new();
    nested.begin();
    let (site, sub, root) = (&nested.site, nested.sub, nested.site.root);
    let cross = Err(FsError::CrossTree);
    assert_eq!(site.rename((sub, "file"), (root, "file")), cross);
    assert_eq!(site.rename((root, "beside"), (sub, "beside")), cross);
    assert_eq!(site.rename((root, "sub"), (TOP, "sub")), cross);
    assert_eq!(site.exchange((root, "beside"), (sub, "file")), cross);
    let linked = site.v().link(nested.below[0], at(root, "other"));
    assert_eq!(linked.unwrap_err(), FsError::CrossTree);
    site.v().unlink(at(sub, "file")).unwrap();
    site.v().unlink(at(sub, "link")).unwrap();
    site.rename((sub, "dir"), (sub, "moved")).unwrap();
    site.v().unlink(at(nested.below[1], "deep")).unwrap();
    site.v().rmdir(at(sub, "moved")).unwrap();
    assert_eq!(site.v().rmdir(at(root, "sub")), Err(BUSY));
    site.mkdir(root, "empty");
    assert_eq!(site.rename((root, "empty"), (root, "sub")), Err(BUSY));
    site.check();
}

#[test]
fn the_point_moves_within_its_parent_as_any_name_does() {
    let nested = Nested::new();
    let inner = nested.begin();
    let (site, root) = (&nested.site, nested.site.root);
    let dir = site.mkdir(root, "dir");
    site.marks();
    marks(site, inner);
    let said = within(site, INNER);
    site.rename((root, "sub"), (dir, "sub")).unwrap();
    assert_eq!(site.marks(), [entry(root, "sub"), entry(dir, "sub")].into());
    site.exchange((dir, "sub"), (root, "beside")).unwrap();
    assert_eq!(
        site.marks(),
        [entry(root, "beside"), entry(dir, "sub")].into()
    );
    assert_eq!(within(site, INNER), said);
    assert!(marks(site, inner).is_empty());
    site.check();
}

#[test]
fn what_cannot_be_a_point_is_refused_and_changes_nothing() {
    let nested = Nested::new();
    let site = &nested.site;
    let begin = |ino| site.v().begin_share_within(INNER, ino, b"");
    let busy = Err(BeginError::Volume(BUSY));
    let free = site.mkdir(TOP, "free");
    assert_eq!(begin(free), busy, "in no share");
    assert_eq!(begin(site.root), busy, "a share already");
    let again = site.v().begin_share_within(SHARE, nested.sub, b"");
    assert_eq!(again, busy, "that share is here");
    site.v()
        .link(nested.below[2], at(site.root, "other"))
        .unwrap();
    let linked = LinkedOutside {
        ino: nested.below[2],
        path: b"dir/deep".into(),
    };
    assert_eq!(
        begin(nested.sub),
        Err(BeginError::LinkedOutside(vec![linked]))
    );
    site.v().unlink(at(site.root, "other")).unwrap();
    assert!(nested.is_in(site.share));
    begin(nested.below[1]).unwrap();
    let outer = site
        .v()
        .begin_share_within(ShareId([9; 32]), nested.sub, b"");
    assert_eq!(outer, busy, "it has one in it");
    site.check();
}

#[test]
fn data_that_lies_in_the_parents_blobs_only_keeps_its_directory_there() {
    let (a, b, mut partner) = pair();
    let dir = a.mkdir(a.root, "sub");
    a.file(dir, "file", &pattern(300_000, 4));
    partner.push(&a).apply_now(&b, 1);
    let sub = b.v().view_entry(b.root, b"sub").unwrap().unwrap().ino;
    let begun = b.v().begin_share_within(INNER, sub, b"");
    assert_eq!(begun, Err(BeginError::Volume(FsError::Unreachable)));
    let file = b.v().view_entry(sub, b"file").unwrap().unwrap().ino;
    assert_eq!(read(&b, file), pattern(300_000, 4));
    b.v().begin_share_within(INNER, sub, b"").unwrap();
    assert_eq!(read(&b, file), pattern(300_000, 4));
    b.check();
}

#[test]
fn a_point_that_others_made_is_an_empty_directory_in_which_a_share_begins() {
    let mut site = Site::shared();
    let made = [
        point(NodeId::ROOT, "one", POINT, INNER),
        point(NodeId::ROOT, "two", NodeId([4; 16]), ShareId([9; 32])),
    ];
    apply(&site, made.into()).unwrap();
    site.v().sync().unwrap();
    site.crash();
    site.check();
    let shares = site.v().shares().unwrap();
    let share = site.share;
    for (name, id, point) in [
        ("one", INNER, POINT),
        ("two", ShareId([9; 32]), NodeId([4; 16])),
    ] {
        let info = shares.iter().find(|info| info.id == id).unwrap();
        assert_eq!(info.within, Some(Within { share, point }));
        let found = site
            .v()
            .view_entry(site.root, name.as_bytes())
            .unwrap()
            .unwrap();
        assert_eq!(
            (found.ino, found.node, found.point),
            (info.root, point, Some(id))
        );
        let file = site.file(info.root, "file", b"x");
        assert_eq!(site.v().share_member(file).unwrap().unwrap().0, info.number);
    }
    assert!(site.marks().is_empty());
    site.check();
}

#[test]
fn the_root_of_a_share_that_is_here_comes_to_its_point_with_all_that_is_in_it() {
    let mut site = Site::shared();
    let root = site.mkdir(TOP, "elsewhere");
    let file = site.file(root, "file", b"content");
    let inner = site.v().begin_share(INNER, root, b"kept").unwrap();
    let handle = site.open(file, RW);
    let applied = apply(&site, vec![point(NodeId::ROOT, "sub", POINT, INNER)]).unwrap();
    let keyfold_fs::share::Applied::Done(outdated) = applied else {
        panic!("nothing is busy");
    };
    for name in [(TOP, "elsewhere"), (site.root, "sub")] {
        assert!(outdated.contains(&Outdated::Entry(name.0, name.1.into())));
    }
    let range = FileRange {
        ino: file,
        handle,
        offset: 7,
    };
    site.v().write(range, b" goes on").unwrap();
    site.close(file, handle);
    site.v().sync().unwrap();
    site.crash();
    site.check();
    let info = site.v().shares().unwrap().pop().unwrap();
    assert_eq!(
        (info.number, info.root, &*info.data),
        (inner, root, &b"kept"[..])
    );
    assert_eq!(site.v().path_of_directory(root).unwrap(), b"shared/sub");
    assert_eq!(read(&site, file), b"content goes on");
    // From there it can be parted again.
    site.v().part_share(inner, at(TOP, "parted")).unwrap();
    assert_eq!(within(&site, INNER), None);
    assert_eq!(site.v().view_entry(site.root, b"sub").unwrap(), None);
    assert_eq!(site.v().path_of_directory(root).unwrap(), b"parted");
    assert_eq!(
        site.v().part_share(inner, at(TOP, "again")),
        Err(FsError::NotFound)
    );
    site.v().sync().unwrap();
    site.crash();
    site.check();
    assert_eq!(read(&site, file), b"content goes on");
}

#[test]
fn nothing_that_others_could_say_of_a_point_does_harm() {
    let nested = Nested::new();
    let inner = nested.begin();
    let site = &nested.site;
    let other = site.mkdir(TOP, "other");
    let single = ShareId([9; 32]);
    site.v()
        .begin_single_share(single, at(other, "plan"), b"")
        .unwrap();
    let said = within(site, INNER).unwrap().point;
    let sub = At {
        parent: NodeId::ROOT,
        name: b"sub".into(),
    };
    let make = |parent, what| Change::Make {
        at: At {
            parent,
            name: b"x".into(),
        },
        node: POINT,
        what,
        perm: 0o700,
        mtime: Timestamp::default(),
    };
    let name = |id| vec![point(NodeId::ROOT, "x", POINT, id)];
    for list in [
        name(INNER),
        name(SHARE),
        name(single),
        vec![point(NodeId::ROOT, "sub", POINT, ShareId([1; 32]))],
        [
            name(ShareId([1; 32])),
            vec![point(NodeId::ROOT, "y", NodeId([4; 16]), ShareId([1; 32]))],
        ]
        .concat(),
        vec![Change::Remove { at: sub.clone() }],
        vec![make(said, What::File)],
        vec![Change::SetAttributes {
            node: said,
            perm: Some(0),
            mtime: None,
        }],
        vec![Change::SetXattr {
            node: said,
            name: b"user.x".into(),
            value: Some(b"y".into()),
        }],
    ] {
        assert!(apply(site, list.clone()).is_err(), "{list:?}");
    }
    assert!(nested.is_in(inner) && site.v().shares().unwrap().len() == 3);
    site.check();
}

#[test]
fn the_parent_may_end_and_the_share_within_stays_one() {
    let mut nested = Nested::new();
    let inner = nested.begin();
    nested.site.v().end_share(nested.site.share).unwrap();
    nested.site.v().sync().unwrap();
    nested.site.crash();
    assert!(nested.is_in(inner));
    assert_eq!(within(&nested.site, INNER), None);
    nested.site.check();
    nested
        .site
        .rename((nested.site.root, "sub"), (TOP, "sub"))
        .unwrap();
    nested.site.check();
}

#[test]
fn a_share_between_two_may_end_and_the_innermost_stays_a_point() {
    let mut nested = Nested::new();
    let inner = nested.begin();
    let id = ShareId([9; 32]);
    let innermost = nested
        .site
        .v()
        .begin_share_within(id, nested.below[1], b"")
        .unwrap();
    assert_eq!(within(&nested.site, id).unwrap().share, inner);
    nested.site.check();
    nested.site.v().end_share(inner).unwrap();
    assert_eq!(within(&nested.site, id).unwrap().share, nested.site.share);
    assert_eq!(nested.share_of(nested.below[2]), Some(innermost));
    nested.site.v().sync().unwrap();
    nested.site.crash();
    nested.site.check();
}
