//! What others did shows here, marks nothing, and goes along with what is kept of it.

use keyfold_fs::error::FsError;
use keyfold_fs::share::{Applied, At, Change, Changes, Kept, NodeId, Outdated, What};
use keyfold_fs::vfs::{Ino, SetAttr, SetTime, Timestamp, Vfs, XattrMode};

use crate::partner::Partner;
use crate::site::{CALLER, RO, RW, Site, at, pattern};
use crate::trees::{assert_same, read};

/// Two volumes with the same empty share.
pub(crate) fn pair() -> (Site, Site, Partner) {
    let (a, b) = (Site::shared(), Site::shared());
    let partner = Partner::new();
    for site in [&a, &b] {
        site.v().set_fetch(Some(partner.store.clone()));
    }
    (a, b, partner)
}

fn find(site: &Site, dir: Ino, name: &str) -> Ino {
    let found = site.v().view_entry(dir, name.as_bytes()).unwrap();
    found.expect(name).ino
}

#[test]
fn a_tree_made_here_is_there_with_all_that_travels() {
    let (a, b, mut partner) = pair();
    let dir = a.mkdir(a.root, "dir");
    let file = a.file(dir, "file", &pattern(300_000, 1));
    a.file(a.root, "empty", b"");
    a.v().link(file, at(a.root, "link")).unwrap();
    a.v()
        .symlink(&CALLER, at(dir, "symlink"), b"../link")
        .unwrap();
    a.v()
        .setxattr(file, b"user.tag", b"red", XattrMode::Set)
        .unwrap();
    a.truncate(file, 1_000_000).unwrap();
    let time = Timestamp { secs: 12, nanos: 7 };
    let set = SetAttr {
        perm: Some(0o640),
        mtime: Some(SetTime::At(time)),
        ..SetAttr::default()
    };
    a.v().setattr(file, None, &set).unwrap();
    let sent = partner.push(&a);
    sent.apply_now(&b, 1);
    partner.confirm(&a, &sent, 1);
    assert_same(&a, &b);
    for site in [&a, &b] {
        assert!(site.marks().is_empty());
        site.check();
    }
    let there = find(&b, find(&b, b.root, "dir"), "file");
    assert_eq!(b.member(there), a.member(file));
}

#[test]
fn changes_go_back_and_forth() {
    for tell_tags in [true, false] {
        let (a, b, mut partner) = pair();
        partner.tell_tags = tell_tags;
        let file = a.file(a.root, "file", &pattern(600_000, 1));
        partner.push(&a).apply_now(&b, 1);
        a.marks();
        let there = find(&b, b.root, "file");
        b.overwrite(there, 5000, b"changed there");
        let sent = partner.push(&b);
        assert_eq!(sent.changes.blobs.len(), 1);
        assert_eq!(
            *partner.store.fetched.lock(),
            1,
            "only what was written in part"
        );
        sent.apply_now(&a, 2);
        partner.confirm(&b, &sent, 2);
        assert_same(&a, &b);
        a.overwrite(file, 590_000, &pattern(200_000, 9));
        a.truncate(file, 700_000).unwrap();
        let sent = partner.push(&a);
        sent.apply_now(&b, 3);
        partner.confirm(&a, &sent, 3);
        assert_same(&a, &b);
        a.truncate(file, 4097).unwrap();
        let sent = partner.push(&a);
        sent.apply_now(&b, 3);
        partner.confirm(&a, &sent, 3);
        assert_same(&a, &b);
        for site in [&a, &b] {
            assert!(site.marks().is_empty());
            site.check();
        }
    }
}

#[test]
fn what_was_applied_and_what_is_kept_of_it_outlive_a_crash_together() {
    for fsynced in [false, true] {
        let (a, mut b, mut partner) = pair();
        let file = a.file(a.root, "file", &pattern(50_000, 1));
        partner.push(&a).apply_now(&b, 1);
        let other = b.file(Ino::ROOT, "other", b"x");
        b.v().sync().unwrap();
        a.overwrite(file, 0, &pattern(60_000, 2));
        a.mkdir(a.root, "new");
        let sent = partner.push(&a);
        sent.apply_now(&b, 2);
        if fsynced {
            // Of another file: the journal may not take the rows without the content.
            let handle = b.open(other, RW);
            b.write(other, handle, 0, b"y").unwrap();
            b.v().fsync(other, handle).unwrap();
        }
        b.crash();
        b.v().set_fetch(Some(partner.store.clone()));
        let applied = b.v().shares().unwrap()[0].data[0];
        assert_eq!(applied, if fsynced { 2 } else { 1 });
        if applied == 1 {
            assert_eq!(read(&b, find(&b, b.root, "file")), pattern(50_000, 1));
            sent.apply_now(&b, 2);
        }
        assert_same(&a, &b);
        b.check();
    }
}

#[test]
fn a_file_that_is_written_to_or_was_not_sent_is_busy_and_nothing_is_changed() {
    let (a, b, mut partner) = pair();
    let file = a.file(a.root, "file", &pattern(9000, 1));
    partner.push(&a).apply_now(&b, 1);
    let node = a.member(file).unwrap();
    a.overwrite(file, 0, b"A");
    a.mkdir(a.root, "dir");
    let sent = partner.push(&a);
    let there = find(&b, b.root, "file");
    let handle = b.open(there, RW);
    assert_eq!(sent.apply(&b, 2), Applied::Busy(vec![node]));
    assert_eq!(b.v().view_entry(b.root, b"dir").unwrap(), None);
    b.write(there, handle, 0, b"B").unwrap();
    b.close(there, handle);
    assert_eq!(sent.apply(&b, 2), Applied::Busy(vec![node]));
    assert_eq!(&*b.v().shares().unwrap()[0].data, [1]);
    assert_eq!(read(&b, there)[0], b'B');
    b.marks();
    sent.apply_now(&b, 2);
    assert_eq!(read(&b, there)[0], b'A');
    // Removing is no different.
    b.overwrite(there, 0, b"C");
    a.v().unlink(at(a.root, "file")).unwrap();
    let sent = partner.push(&a);
    assert_eq!(sent.apply(&b, 3), Applied::Busy(vec![node]));
    b.marks();
    sent.apply_now(&b, 3);
    assert_eq!(b.v().view_entry(b.root, b"file").unwrap(), None);
    b.check();
}

#[test]
fn a_removed_file_stays_readable_for_who_has_it_open() {
    let (a, b, mut partner) = pair();
    a.file(a.root, "file", b"content");
    let sent = partner.push(&a);
    sent.apply_now(&b, 1);
    let there = find(&b, b.root, "file");
    read(&b, there);
    let handle = b.open(there, RO);
    a.v().unlink(at(a.root, "file")).unwrap();
    partner.push(&a).apply_now(&b, 2);
    // Who finds it by its name is sent to look again, once: who has it open may open it by that.
    assert_eq!(b.v().open(there, RO), Err(FsError::Stale(there)));
    assert_eq!(read(&b, there), b"content");
    // Whoever found it by its name before looks again, and writes nothing that nobody ever sees.
    assert_eq!(b.v().open(there, RW), Err(FsError::Stale(there)));
    b.check();
    b.close(there, handle);
    assert_eq!(b.v().getattr(there), Err(FsError::Stale(there)));
    b.check();
}

#[test]
fn who_reads_a_file_keeps_what_he_opened_and_its_names_have_the_new_one() {
    for fetched in [false, true] {
        let (a, mut b, mut partner) = pair();
        let file = a.file(a.root, "file", &pattern(600_000, 1));
        let dir = a.mkdir(a.root, "dir");
        a.v().link(file, at(dir, "link")).unwrap();
        a.v()
            .setxattr(file, b"user.a", b"1", XattrMode::Set)
            .unwrap();
        partner.push(&a).apply_now(&b, 1);
        a.marks();
        let old = find(&b, b.root, "file");
        if fetched {
            read(&b, old);
        }
        let handle = b.open(old, RO);
        a.overwrite(file, 300_000, b"changed");
        a.rename((a.root, "file"), (a.root, "moved")).unwrap();
        let sent = partner.push(&a);
        sent.apply_now(&b, 2);
        partner.confirm(&a, &sent, 2);
        let new = find(&b, b.root, "moved");
        assert_ne!(old, new);
        assert_eq!(find(&b, find(&b, b.root, "dir"), "link"), new);
        assert_eq!(b.member(old), None);
        // Whoever found the old inode by name looks again, and writes to the new one.
        assert_eq!(b.v().open(old, RW), Err(FsError::Stale(old)));
        let mut buf = vec![0; 600_000];
        let range = keyfold_fs::vfs::FileRange {
            ino: old,
            handle,
            offset: 0,
        };
        b.v().read(range, &mut buf).unwrap();
        assert_eq!(buf, pattern(600_000, 1));
        b.check();
        assert_same(&a, &b);
        b.close(old, handle);
        assert_eq!(b.v().getattr(old), Err(FsError::Stale(old)));
        assert!(b.marks().is_empty());
        b.v().sync().unwrap();
        b.crash();
        b.v().set_fetch(Some(partner.store.clone()));
        assert_same(&a, &b);
        b.check();
    }
}

#[test]
fn who_opens_a_file_that_others_replaced_has_to_look_again_first() {
    let (a, b, mut partner) = pair();
    let file = a.file(a.root, "file", b"content");
    partner.push(&a).apply_now(&b, 1);
    a.marks();
    let there = b.v().lookup(at(b.root, "file")).unwrap().attr.ino;
    for (round, mode) in [(2, RO), (3, RW)] {
        assert!(!b.v().was_replaced(there));
        a.overwrite(file, 0, b"C");
        let sent = partner.push(&a);
        sent.apply_now(&b, round);
        partner.confirm(&a, &sent, round);
        assert_eq!(b.v().open(there, mode), Err(FsError::Stale(there)));
        b.v().getattr(there).unwrap();
        // Two may open it at once.
        for _ in 0..2 {
            let handle = b.open(there, mode);
            assert!(b.v().was_replaced(there));
            b.close(there, handle);
        }
        // Who does not look is sent to do so once.
        a.overwrite(file, 1, &[round]);
        let sent = partner.push(&a);
        sent.apply_now(&b, round + 10);
        partner.confirm(&a, &sent, round + 10);
        assert_eq!(b.v().open(there, mode), Err(FsError::Stale(there)));
        let handle = b.open(there, mode);
        assert!(b.v().was_replaced(there));
        b.close(there, handle);
        b.v().forget(there, 1);
        assert!(!b.v().was_replaced(there));
        b.v().lookup(at(b.root, "file")).unwrap();
    }
    b.check();
}

#[test]
fn a_file_that_is_read_and_has_a_name_nobody_told_of_is_busy() {
    let (a, b, mut partner) = pair();
    let file = a.file(a.root, "file", &pattern(9000, 1));
    partner.push(&a).apply_now(&b, 1);
    let there = find(&b, b.root, "file");
    b.v().link(there, at(b.root, "mine")).unwrap();
    let handle = b.open(there, RO);
    a.overwrite(file, 0, b"A");
    let sent = partner.push(&a);
    assert_eq!(
        sent.apply(&b, 2),
        Applied::Busy(vec![a.member(file).unwrap()])
    );
    b.close(there, handle);
    sent.apply_now(&b, 2);
    assert_eq!(read(&b, there)[0], b'A');
    b.check();
}

#[test]
fn whoever_caches_is_told_what_to_ask_for_again() {
    let (a, b, mut partner) = pair();
    let file = a.file(a.root, "file", b"content");
    partner.push(&a).apply_now(&b, 1);
    a.marks();
    a.overwrite(file, 0, b"C");
    a.rename((a.root, "file"), (a.root, "other")).unwrap();
    let there = find(&b, b.root, "file");
    let Applied::Done(outdated) = partner.push(&a).apply(&b, 2) else {
        panic!("nothing is busy");
    };
    for expected in [
        Outdated::Inode(there),
        Outdated::Entry(b.root, b"file".into()),
        Outdated::Entry(b.root, b"other".into()),
    ] {
        assert!(outdated.contains(&expected), "{expected:?} in {outdated:?}");
    }
}

#[test]
fn changes_that_do_not_fit_change_nothing() {
    let site = Site::shared();
    let dir = site.mkdir(site.root, "dir");
    let node = site.member(dir).unwrap();
    site.file(dir, "f", b"x");
    site.marks();
    let name = |parent, name: &str| At {
        parent,
        name: name.into(),
    };
    let make = |at: At, id: u8| Change::Make {
        at,
        node: NodeId([id; 16]),
        what: What::Directory,
        perm: 0o700,
        mtime: Timestamp::default(),
    };
    let root = NodeId::ROOT;
    let cases = [
        (make(name(root, "dir"), 5), FsError::Exists),
        (make(name(NodeId([6; 16]), "x"), 5), FsError::NotFound),
        (make(name(root, ".."), 5), FsError::InvalidArgument),
        (make(name(root, "a/b"), 5), FsError::InvalidArgument),
        (
            Change::Remove {
                at: name(root, "dir"),
            },
            FsError::NotEmpty(dir),
        ),
        (
            Change::Remove {
                at: name(root, "no"),
            },
            FsError::NotFound,
        ),
        (
            Change::Rename {
                from: name(root, "dir"),
                to: name(node, "within"),
            },
            FsError::InvalidArgument,
        ),
        (
            Change::Link {
                at: name(root, "l"),
                node,
            },
            FsError::IsADirectory(dir),
        ),
    ];
    for (change, error) in cases {
        let changes = Changes {
            list: vec![make(name(root, "new"), 9), change.clone()],
            kept: Kept {
                share: Some(b"no".as_slice().into()),
                ..Kept::default()
            },
            ..Changes::default()
        };
        let applied = site.v().apply_to_share(site.share, &changes);
        assert_eq!(applied, Err(error), "{change:?}");
        assert_eq!(site.v().view_entry(site.root, b"new").unwrap(), None);
    }
    assert!(site.v().shares().unwrap()[0].data.is_empty());
    assert!(site.marks().is_empty());
    site.check();
}
