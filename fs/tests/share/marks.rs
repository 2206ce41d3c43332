//! Whatever changes in a share leaves a mark, which is there after a crash when the change is.

use keyfold_fs::share::{Kept, Mark, Standing};
use keyfold_fs::vfs::{
    Allocate, FileKind, FileRange, Ino, NewNode, OpenMode, RenameMode, SetAttr, SetTime, Timestamp,
    Vfs, XattrMode,
};

use crate::site::{CALLER, RW, Site, at, entry, pattern};

fn set(site: &Site, ino: Ino, set: &SetAttr) {
    site.v().setattr(ino, None, set).unwrap();
}

fn range(ino: Ino, handle: keyfold_fs::vfs::Handle, offset: u64) -> FileRange {
    FileRange {
        ino,
        handle,
        offset,
    }
}

/// Compares the marks since the last call.
#[track_caller]
fn expect(site: &Site, marks: &[Mark]) {
    assert_eq!(site.marks(), marks.iter().cloned().collect());
}

#[test]
fn making_removing_and_moving_names_mark_entries() {
    let site = Site::shared();
    let r = site.root;
    let dir = site.mkdir(r, "d");
    expect(&site, &[entry(r, "d")]);
    let file = site.file(r, "f", b"");
    expect(&site, &[entry(r, "f")]);
    site.v().symlink(&CALLER, at(r, "s"), b"f").unwrap();
    expect(&site, &[entry(r, "s")]);
    let fifo = NewNode {
        kind: FileKind::Fifo,
        perm: 0o600,
        rdev: 0,
    };
    site.v().mknod(&CALLER, at(r, "p"), fifo).unwrap();
    expect(&site, &[entry(r, "p")]);
    site.v().link(file, at(dir, "g")).unwrap();
    expect(&site, &[entry(dir, "g")]);
    site.rename((r, "s"), (dir, "t")).unwrap();
    expect(&site, &[entry(r, "s"), entry(dir, "t")]);
    site.rename((dir, "t"), (dir, "g")).unwrap();
    expect(&site, &[entry(dir, "t"), entry(dir, "g")]);
    site.exchange((r, "f"), (dir, "g")).unwrap();
    expect(&site, &[entry(r, "f"), entry(dir, "g")]);
    site.v().unlink(at(dir, "g")).unwrap();
    expect(&site, &[entry(dir, "g")]);
    site.v().rmdir(at(r, "d")).unwrap();
    expect(&site, &[entry(r, "d")]);
    site.check();
}

#[test]
fn changing_attributes_marks_them() {
    let site = Site::shared();
    let file = site.file(site.root, "f", b"");
    let dir = site.mkdir(site.root, "d");
    site.marks();
    let attributes = |ino| [Mark::Attributes(ino)];
    let perm = SetAttr {
        perm: Some(0o600),
        ..SetAttr::default()
    };
    let time = SetTime::At(Timestamp { secs: 9, nanos: 1 });
    let mtime = SetAttr {
        mtime: Some(time),
        ..SetAttr::default()
    };
    for ino in [file, dir] {
        set(&site, ino, &perm);
        expect(&site, &attributes(ino));
        set(&site, ino, &mtime);
        expect(&site, &attributes(ino));
        let v = site.v();
        v.setxattr(ino, b"user.a", b"1", XattrMode::Set).unwrap();
        expect(&site, &attributes(ino));
        v.removexattr(ino, b"user.a").unwrap();
        expect(&site, &attributes(ino));
    }
    let root = site.root;
    set(&site, root, &perm);
    expect(&site, &attributes(root));
}

#[test]
fn every_change_of_content_marks_it() {
    let site = Site::shared();
    let file = site.file(site.root, "f", &pattern(100_000, 1));
    let other = site.file(site.root, "g", &pattern(50_000, 2));
    site.marks();
    let content = [Mark::Content(file)];
    let handle = site.open(file, RW);
    let from = site.open(other, RW);
    site.write(file, handle, 5, b"x").unwrap();
    expect(&site, &content);
    for mode in [
        Allocate::Extend,
        Allocate::KeepSize,
        Allocate::PunchHole,
        Allocate::Zero,
        Allocate::ZeroKeepSize,
    ] {
        let at = range(file, handle, 4096);
        site.v().fallocate(at, 8192, mode).unwrap();
        expect(&site, &content);
    }
    let (source, target) = (range(other, from, 0), range(file, handle, 0));
    site.v().copy_range(source, target, 9000).unwrap();
    expect(&site, &content);
    let both = [Mark::Content(file), Mark::Attributes(file)];
    for size in [50_000, 60_000] {
        site.truncate(file, size).unwrap();
        expect(&site, &both);
    }
    let truncating = OpenMode {
        truncate: true,
        ..RW
    };
    let again = site.open(file, truncating);
    expect(&site, &content);
    site.close(file, again);
    let append = OpenMode { append: true, ..RW };
    let again = site.open(file, append);
    site.write(file, again, 0, b"more").unwrap();
    expect(&site, &content);
    site.close(file, again);
    site.close(file, handle);
    site.close(other, from);
    expect(&site, &[]);
}

#[test]
fn a_write_that_takes_setuid_away_marks_attributes_too() {
    let site = Site::shared();
    let file = site.file(site.root, "f", b"x");
    let perm = SetAttr {
        perm: Some(0o4755),
        ..SetAttr::default()
    };
    set(&site, file, &perm);
    site.marks();
    site.overwrite(file, 0, b"y");
    expect(&site, &[Mark::Content(file), Mark::Attributes(file)]);
}

#[test]
fn what_only_reads_or_fails_marks_nothing() {
    let site = Site::shared();
    let r = site.root;
    let file = site.file(r, "f", b"content");
    site.marks();
    let handle = site.open(file, RW);
    let mut buf = [0; 10];
    site.v().read(range(file, handle, 0), &mut buf).unwrap();
    site.v().getattr(file).unwrap();
    site.v().fsync(file, handle).unwrap();
    site.v().sync().unwrap();
    site.close(file, handle);
    site.v().mkdir(&CALLER, at(r, "f"), 0o755).unwrap_err();
    site.v().unlink(at(r, "none")).unwrap_err();
    site.v().rmdir(at(r, "f")).unwrap_err();
    site.rename((r, "none"), (r, "x")).unwrap_err();
    let no = RenameMode::NoReplace;
    site.v().rename(at(r, "f"), at(r, "f"), no).unwrap_err();
    site.v().removexattr(file, b"user.none").unwrap_err();
    expect(&site, &[]);
}

#[test]
fn what_changes_outside_of_shares_marks_nothing() {
    let site = Site::shared();
    let dir = site.mkdir(Ino::ROOT, "private");
    let file = site.file(dir, "f", b"content");
    site.overwrite(file, 0, b"C");
    site.rename((dir, "f"), (Ino::ROOT, "g")).unwrap();
    site.v().unlink(at(Ino::ROOT, "g")).unwrap();
    site.rename((Ino::ROOT, "shared"), (dir, "moved")).unwrap();
    expect(&site, &[]);
    assert_eq!(site.member(dir), None);
}

#[test]
fn a_mark_that_waits_is_not_written_twice_and_one_taken_up_is() {
    let site = Site::shared();
    let file = site.file(site.root, "f", b"");
    site.marks();
    for n in 0..10 {
        site.overwrite(file, n, b"x");
    }
    let taken = site.v().take_marks(site.share).unwrap();
    assert_eq!(taken.len(), 1);
    site.overwrite(file, 0, b"y");
    let again = site.v().take_marks(site.share).unwrap();
    assert_eq!(again.len(), 2, "the second write is not in the first mark");
    let kept = Kept {
        confirmed: vec![taken[0].number],
        ..Kept::default()
    };
    site.v().keep_of_share(site.share, &kept).unwrap();
    assert_eq!(site.v().take_marks(site.share).unwrap(), again[1..]);
}

#[test]
fn a_mark_that_was_taken_up_before_the_volume_was_closed_is_not_taken_for_a_later_change() {
    for end in [Site::remount, Site::crash] {
        let mut site = Site::shared();
        let file = site.file(site.root, "f", b"old");
        let taken = site.v().take_marks(site.share).unwrap();
        site.v().sync().unwrap();
        end(&mut site);
        site.overwrite(file, 0, b"new");
        // What was taken up was on its way to others, and is there.
        let kept = Kept {
            confirmed: taken.iter().map(|mark| mark.number).collect(),
            ..Kept::default()
        };
        site.v().keep_of_share(site.share, &kept).unwrap();
        expect(&site, &[Mark::Content(file)]);
        site.check();
    }
}

#[test]
fn marks_outlive_a_crash_when_their_changes_do() {
    let mut site = Site::shared();
    let r = site.root;
    let file = site.file(r, "f", b"old");
    site.marks();
    site.v().sync().unwrap();
    site.overwrite(file, 0, b"new");
    let made = site.mkdir(r, "d");
    site.crash();
    assert_eq!(site.marks(), [].into(), "neither change is there");
    assert_eq!(site.member(made), None);
    site.overwrite(file, 0, b"new");
    let handle = site.open(file, RW);
    site.v().fsync(file, handle).unwrap();
    site.mkdir(r, "lost");
    site.crash();
    expect(&site, &[Mark::Content(file)]);
    site.check();
}

#[test]
fn marks_of_names_outlive_a_crash_at_any_commit() {
    let mut site = Site::shared();
    let r = site.root;
    for n in 0..12 {
        let name = format!("n{n}");
        site.mkdir(r, &name);
        if n % 3 == 0 {
            site.v().sync().unwrap();
        }
        if n % 4 == 3 {
            site.crash();
            let there: Vec<_> = (0..=n)
                .map(|n| format!("n{n}"))
                .filter(|name| site.v().lookup(at(r, name)).is_ok())
                .collect();
            let marked = site.v().take_marks(site.share).unwrap();
            let marked: Vec<_> = marked.into_iter().map(|m| m.mark).collect();
            let expected: Vec<_> = there.iter().map(|name| entry(r, name)).collect();
            assert_eq!(marked, expected);
        }
    }
    site.check();
}

#[test]
fn a_removed_node_stays_known_until_the_others_know() {
    let mut site = Site::shared();
    let file = site.file(site.root, "f", b"content");
    let node = site.member(file).unwrap();
    site.v().forget(file, 1);
    site.v().unlink(at(site.root, "f")).unwrap();
    site.remount();
    let info = site.v().share_node(site.share, node).unwrap().unwrap();
    assert_eq!((info.ino, info.standing), (file, Standing::Gone));
    site.check();
    let kept = Kept {
        nodes: vec![(node, None)],
        ..Kept::default()
    };
    site.v().keep_of_share(site.share, &kept).unwrap();
    assert_eq!(site.v().share_node(site.share, node).unwrap(), None);
    assert_eq!(site.member(file), None);
    site.check();
}

#[test]
fn what_is_kept_of_shares_and_nodes_is_there_after_a_crash() {
    let mut site = Site::shared();
    let dir = site.mkdir(site.root, "d");
    let node = site.member(dir).unwrap();
    let kept = Kept {
        share: Some(b"head".as_slice().into()),
        nodes: vec![(node, Some(b"synced".as_slice().into()))],
        ..Kept::default()
    };
    site.v().keep_of_share(site.share, &kept).unwrap();
    site.v().sync().unwrap();
    site.crash();
    assert_eq!(&*site.v().shares().unwrap()[0].data, b"head");
    let info = site.v().share_node(site.share, node).unwrap().unwrap();
    assert_eq!(&*info.data, b"synced");
    let early = Kept {
        nodes: vec![(node, None)],
        ..Kept::default()
    };
    site.v().keep_of_share(site.share, &early).unwrap_err();
}
