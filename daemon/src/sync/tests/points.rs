//! A folder of a share that one account has for itself becomes a share of its own, on all its devices.

use std::collections::BTreeSet;

use keyfold_fs::layout::ShareId as EngineShareId;
use keyfold_fs::share::ShareInfo;
use keyfold_fs::volume::Volume;
use keyfold_protocol::ids::{BlobId, NodeId, ShareId};
use keyfold_protocol::roster::Role;
use keyfold_protocol::tree::Kind;

use super::site::{People, Site, assert_same, pattern, share};
use crate::account::Session;
use crate::account::tests::scene::{Scene, session};
use crate::engine::Engine;
use crate::remote::tests::run;
use crate::sharing::tests::newcomer;
use crate::sharing::{Shared, SharingError};
use crate::sync::Round;

const INSIDE: [&str; 3] = ["sub/dir", "sub/dir/deep", "sub/file"];

/// Two devices of alice.
struct Devices {
    _scene: Scene,
    laptop: Engine,
    tablet: Engine,
}

impl Devices {
    fn new() -> Self {
        let scene = Scene::new();
        let (laptop, kit) = scene.registered("alice");
        let tablet = scene.vault("tablet");
        scene.login(&tablet, "alice", Some(&kit)).unwrap();
        Self {
            _scene: scene,
            laptop,
            tablet,
        }
    }

    fn sessions(&self) -> (Session<'_>, Session<'_>) {
        (session(&self.laptop), session(&self.tablet))
    }
}

/// A folder, with something in it and beside.
fn fill(site: &Site<'_, '_>) {
    site.mkdir("sub");
    site.mkdir("sub/dir");
    site.file("sub/file", &pattern(300_000, 1));
    site.file("sub/dir/deep", b"deep");
    site.file("beside", b"beside");
}

/// Makes a share of a folder, as `keyfold share` does but for who is given it.
fn share_within(
    (engine, session): (&Engine, &Session<'_>),
    (outer, path): (&Site<'_, '_>, &str),
) -> ShareId {
    let first = Shared::draft_first(session).unwrap();
    let id = first.record.header.hash().share();
    let volume = engine.volume();
    let begun = volume.begin_share_within(EngineShareId(id.0), outer.ino(path), b"");
    begun.unwrap();
    run(Shared::create_by(session, &first)).unwrap();
    id
}

fn info(volume: &Volume, id: ShareId) -> Option<ShareInfo> {
    let shares = volume.shares().unwrap();
    shares.into_iter().find(|info| info.id.0 == id.0)
}

fn path(volume: &Volume, id: ShareId) -> String {
    let path = volume.path_of_share(&info(volume, id).unwrap()).unwrap();
    String::from_utf8(path).unwrap()
}

/// The only path below the root of which this is the beginning.
#[track_caller]
fn beginning(site: &Site<'_, '_>, with: &str) -> String {
    let paths = site.paths();
    let mut found = paths
        .iter()
        .filter(|path| path.starts_with(with) && !path.contains(")/"));
    let path = found.next().unwrap_or_else(|| panic!("{paths:?}"));
    assert_eq!(found.next(), None, "{paths:?}");
    path.clone()
}

#[test]
fn a_folder_that_is_shared_by_itself_stays_where_it_is_on_all_devices_and_is_sent_before_it_leaves()
{
    let devices = Devices::new();
    let (a, t) = devices.sessions();
    let id = run(Shared::create(&a)).unwrap().id();
    let mut laptop = Site::begin((&devices.laptop, &a), id, |_, _| {});
    fill(&laptop);
    laptop.push();
    let mut tablet = Site::begin((&devices.tablet, &t), id, |_, _| {});
    tablet.pull();
    assert_same(&laptop, &tablet);
    let child = share_within((&devices.laptop, &a), (&laptop, "sub"));
    // Nobody is told before all of it can be had.
    laptop.file("later", b"waits");
    assert!(
        matches!(run(laptop.sync.push()).unwrap(), Round::Waiting(points) if points.len() == 1)
    );
    tablet.pull();
    assert!(tablet.find("later").is_none() && tablet.find("sub/file").is_some());
    let mut inner = Site::open(&devices.laptop, &a, child);
    inner.push();
    laptop.push();
    laptop.again();
    laptop.push();
    tablet.pull();
    assert_eq!(tablet.read("later"), b"waits");
    assert_eq!(path(tablet.v(), child), "shared/sub");
    assert!(tablet.paths().iter().all(|path| !path.starts_with("sub/")));
    tablet.again();
    let mut within = Site::open(&devices.tablet, &t, child);
    within.pull();
    assert_eq!(within.read("file"), pattern(300_000, 1));
    // It goes on as two shares of both.
    within.overwrite("file", 100_000, b"from the tablet");
    within.push();
    inner.again();
    inner.pull();
    assert_same(&inner, &within);
    tablet.mkdir("above");
    tablet.rename("sub", "above/moved");
    tablet.push();
    laptop.pull();
    assert_eq!(path(laptop.v(), child), "shared/above/moved");
    for site in [&mut laptop, &mut tablet, &mut inner, &mut within] {
        site.again();
        site.push();
    }
}

#[test]
fn a_share_that_came_before_its_point_moves_there() {
    let devices = Devices::new();
    let (a, t) = devices.sessions();
    let id = run(Shared::create(&a)).unwrap().id();
    let mut laptop = Site::begin((&devices.laptop, &a), id, |_, _| {});
    fill(&laptop);
    laptop.push();
    let child = share_within((&devices.laptop, &a), (&laptop, "sub"));
    Site::open(&devices.laptop, &a, child).push();
    // It is placed like any other share of the account, in a directory of its own.
    let mut within = Site::begin((&devices.tablet, &t), child, |_, _| {});
    within.pull();
    assert_eq!(within.read("file"), pattern(300_000, 1));
    let before = within.root;
    laptop.push();
    // Who begins from a snapshot has its points, too.
    run(laptop.sync.make_snapshot()).unwrap();
    let volume = devices.tablet.volume();
    let at = keyfold_fs::vfs::Place {
        parent: keyfold_fs::vfs::Ino::ROOT,
        name: keyfold_fs::vfs::Name::new(b"own").unwrap(),
    };
    let caller = super::site::CALLER;
    let root = keyfold_fs::vfs::Vfs::mkdir(&**volume, &caller, at, 0o755)
        .unwrap()
        .attr
        .ino;
    volume.begin_share(EngineShareId(id.0), root, b"").unwrap();
    let mut tablet = Site::open(&devices.tablet, &t, id);
    tablet.pull();
    assert_eq!(path(volume, child), "own/sub");
    assert_eq!(info(volume, child).unwrap().root, before);
    let mut within = Site::open(&devices.tablet, &t, child);
    within.push();
    assert_eq!(within.read("file"), pattern(300_000, 1));
}

#[test]
fn what_another_device_changed_in_the_folder_before_it_knew_is_kept_beside() {
    for is_sent in [false, true] {
        let devices = Devices::new();
        let (a, t) = devices.sessions();
        let id = run(Shared::create(&a)).unwrap().id();
        let mut laptop = Site::begin((&devices.laptop, &a), id, |_, _| {});
        fill(&laptop);
        laptop.push();
        let mut tablet = Site::begin((&devices.tablet, &t), id, |_, _| {});
        tablet.pull();
        tablet.read("sub/file");
        let child = share_within((&devices.laptop, &a), (&laptop, "sub"));
        tablet.overwrite("sub/file", 0, b"of the tablet");
        tablet.file("sub/dir/new", b"new");
        if is_sent {
            tablet.push();
        }
        Site::open(&devices.laptop, &a, child).push();
        laptop.push();
        tablet.push();
        laptop.pull();
        for (site, engine) in [(&laptop, &devices.laptop), (&tablet, &devices.tablet)] {
            assert_eq!(path(engine.volume(), child), "shared/sub");
            let beside = beginning(site, "sub (conflict, alice, ");
            let mut edited: Vec<String> = site.paths();
            edited.retain(|path| path.starts_with(&format!("{beside}/")) && path.ends_with("/new"));
            assert_eq!(edited, [format!("{beside}/dir/new")]);
            let files: BTreeSet<String> = site.paths().into_iter().collect();
            let kept = files
                .iter()
                .filter(|path| path.starts_with(&format!("{beside}/file")));
            let kept: Vec<&String> = kept.collect();
            assert_eq!(kept.len(), 1, "{files:?}");
            assert_eq!(site.read(kept[0])[..13], *b"of the tablet");
        }
        let mut inner = Site::open(&devices.laptop, &a, child);
        inner.push();
        assert_eq!(inner.read("file"), pattern(300_000, 1));
    }
}

#[test]
fn points_of_others_and_those_in_a_share_with_others_show_nothing() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    bob.mkdir("sub");
    bob.file("sub/file", b"of bob");
    bob.mkdir("mine");
    bob.push();
    alice.pull();
    // Bob makes a point of a share that he gives to alice, and one of a share that is hers.
    let child = share_within((&people.bob, &b), (&bob, "sub"));
    let mut inner = Site::open(&people.bob, &b, child);
    inner.push();
    let mut shared = run(Shared::open(&b, child)).unwrap();
    run(shared.add(&newcomer(&b, "alice", Role::Writer))).unwrap();
    bob.push();
    alice.pull();
    assert!(info(alice.v(), child).is_none() && alice.find("sub").is_none());
    let points = |site: &Site<'_, '_>| {
        let nodes = site.sync.head.nodes();
        nodes
            .filter(|(_, node)| matches!(node.kind, Kind::SharePoint(_)))
            .count()
    };
    assert_eq!(points(&alice), 1);
    // Nor when alice is alone with it.
    let mut outer = run(Shared::open(&a, id)).unwrap();
    let bobs = outer.member(&"bob".parse().unwrap()).unwrap().key.root;
    run(outer.remove(bobs)).unwrap();
    alice.file("more", b"more");
    alice.push();
    alice.again();
    alice.push();
    assert!(info(alice.v(), child).is_none() && alice.find("sub").is_none());
}

#[test]
fn nobody_is_added_to_a_share_that_has_another_in_it() {
    let people = People::new();
    let (a, _) = people.sessions();
    let id = run(Shared::create(&a)).unwrap().id();
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    fill(&alice);
    alice.push();
    let child = share_within((&people.alice, &a), (&alice, "sub"));
    let bob = newcomer(&a, "bob", Role::Reader);
    let refused = run(run(Shared::open(&a, id)).unwrap().add(&bob));
    assert!(
        matches!(refused, Err(SharingError::HasPoint)),
        "{refused:?}"
    );
    run(run(Shared::open(&a, child)).unwrap().add(&bob)).unwrap();
}

#[test]
fn keys_that_somebody_had_who_was_taken_out_seal_nothing_of_the_folder() {
    let people = People::new();
    let (a, _) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    fill(&alice);
    alice.push();
    let mut outer = run(Shared::open(&a, id)).unwrap();
    let bob = outer.member(&"bob".parse().unwrap()).unwrap().key.root;
    run(outer.remove(bob)).unwrap();
    let child = share_within((&people.alice, &a), (&alice, "sub"));
    let mut inner = Site::open(&people.alice, &a, child);
    inner.overwrite("file", 0, b"after bob");
    inner.push();
    let keys = |site: &Site<'_, '_>, node: NodeId| {
        let content = site.sync.head.node(node).and_then(|node| node.content());
        let keys = content.into_iter().flat_map(|content| content.keys.keys());
        keys.copied().collect::<BTreeSet<_>>()
    };
    let (_, file) = alice.v().share_member(inner.ino("file")).unwrap().unwrap();
    let file = NodeId(file.0);
    // The log of the other still has what bob could read.
    let (had, has) = (keys(&alice, file), keys(&inner, file));
    assert!(!had.is_empty() && !has.is_empty() && had.is_disjoint(&has));
    assert_eq!(inner.read("file")[..9], *b"after bob");
    // Nor later, beside what changes.
    inner.overwrite("file", 9, b", later");
    inner.push();
    assert!(had.is_disjoint(&keys(&inner, file)));
    alice.push();
    inner.again();
    inner.push();
}

/// The packs that files in a share lie in, by the path of each.
fn packs(site: &Site<'_, '_>, path: &str) -> BTreeSet<BlobId> {
    let (_, node) = site.v().share_member(site.ino(path)).unwrap().unwrap();
    let content = site
        .sync
        .head
        .node(NodeId(node.0))
        .and_then(|node| node.content());
    content.unwrap().packs.keys().copied().collect()
}

#[test]
fn packs_with_nothing_else_in_them_are_taken_over_and_all_others_sent_anew() {
    let devices = Devices::new();
    let (a, t) = devices.sessions();
    let id = run(Shared::create(&a)).unwrap().id();
    let mut laptop = Site::begin((&devices.laptop, &a), id, |_, _| {});
    laptop.mkdir("sub");
    // Each time is one record, with packs of its own.
    laptop.file("sub/one", &pattern(9 << 20, 1));
    laptop.file("sub/other", &pattern(5000, 2));
    laptop.push();
    laptop.file("sub/changed", &pattern(9000, 3));
    laptop.push();
    laptop.overwrite("sub/changed", 0, b"no newcomer reads what was there before");
    laptop.push();
    laptop.file("sub/mixed", &pattern(9000, 4));
    laptop.file("beside", &pattern(9000, 5));
    laptop.push();
    laptop.file("sub/unsent", &pattern(9000, 6));
    laptop.push();
    laptop.overwrite("sub/unsent", 0, b"nor this, which the parent never had");
    let names = ["one", "other", "changed", "mixed", "unsent"];
    let in_parent = names.map(|name| packs(&laptop, &format!("sub/{name}")));
    let child = share_within((&devices.laptop, &a), (&laptop, "sub"));
    let mut inner = Site::open(&devices.laptop, &a, child);
    inner.push();
    let is_taken_over = |name: &str| {
        let number = names.iter().position(|one| *one == name).unwrap();
        let now = packs(&inner, name);
        assert!(now == in_parent[number] || now.is_disjoint(&in_parent[number]));
        now == in_parent[number]
    };
    let taken: Vec<&str> = names
        .into_iter()
        .filter(|name| is_taken_over(name))
        .collect();
    assert_eq!(taken, ["one", "other"]);
    laptop.push();
    let mut within = Site::begin((&devices.tablet, &t), child, |_, _| {});
    within.pull();
    for name in names {
        assert_eq!(within.read(name), inner.read(name), "{name}");
    }
}

#[test]
fn a_share_whose_point_is_gone_is_one_like_any_other() {
    let devices = Devices::new();
    let (a, t) = devices.sessions();
    let id = run(Shared::create(&a)).unwrap().id();
    let mut laptop = Site::begin((&devices.laptop, &a), id, |_, _| {});
    fill(&laptop);
    laptop.push();
    let child = share_within((&devices.laptop, &a), (&laptop, "sub"));
    Site::open(&devices.laptop, &a, child).push();
    laptop.push();
    let mut tablet = Site::begin((&devices.tablet, &t), id, |_, _| {});
    tablet.pull();
    let mut within = Site::open(&devices.tablet, &t, child);
    within.pull();
    assert_eq!(within.read("file"), pattern(300_000, 1));
    within.file("unsent", b"unsent");
    let number = info(laptop.v(), child).unwrap().number;
    laptop.v().end_share(number).unwrap();
    laptop.push();
    laptop.again();
    laptop.push();
    let mut tablet = Site::open(&devices.tablet, &t, id);
    tablet.pull();
    assert_same(&laptop, &tablet);
    assert_eq!(laptop.paths().len(), INSIDE.len() + 2);
    assert_eq!(path(tablet.v(), child), "Shared/alice/sub");
    let mut within = Site::open(&devices.tablet, &t, child);
    within.push();
    assert_eq!(within.read("unsent"), b"unsent");
}

#[test]
fn a_share_within_that_the_server_never_knew_is_as_if_it_had_not_been() {
    let devices = Devices::new();
    let (a, _) = devices.sessions();
    let id = run(Shared::create(&a)).unwrap().id();
    let mut laptop = Site::begin((&devices.laptop, &a), id, |_, _| {});
    fill(&laptop);
    laptop.push();
    let head = laptop.sync.head.clone();
    let number = laptop
        .v()
        .begin_share_within(EngineShareId([5; 32]), laptop.ino("sub"), b"")
        .unwrap();
    assert!(matches!(
        run(laptop.sync.push()).unwrap(),
        Round::Waiting(_)
    ));
    laptop.v().end_share(number).unwrap();
    laptop.push();
    assert!(laptop.sync.head == head, "there was nothing to send");
    laptop.again();
    laptop.overwrite("sub/dir/deep", 0, b"DEEP");
    laptop.push();
    assert_eq!(laptop.read("sub/dir/deep"), b"DEEP");
}
