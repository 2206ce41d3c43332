//! Directories that stand for what was not given.

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::layout::ShareId;
use keyfold_fs::vfs::{Ino, SetAttr, Vfs, XattrMode};

use crate::site::{CALLER, RW, SHARE, Site, at};

/// A volume with a directory that stands for a share.
fn locked() -> (Site, Ino) {
    let site = Site::plain();
    let place = at(Ino::ROOT, "stub");
    let dir = site.v().begin_locked(SHARE, place, &CALLER, b"kept");
    (site, dir.unwrap())
}

#[test]
fn nobody_gets_into_a_locked_directory_or_changes_it_and_it_stays_so() {
    let (mut site, dir) = locked();
    let own = site.mkdir(Ino::ROOT, "own");
    site.v().begin_share(ShareId([9; 32]), own, b"").unwrap();
    for round in ["at first", "after a remount", "after a crash"] {
        let v = site.v();
        assert_eq!(v.getattr(dir).unwrap().perm, 0o600, "{round}");
        let perm = SetAttr {
            perm: Some(0o700),
            ..SetAttr::default()
        };
        let root = Ino::ROOT;
        let tried: Vec<(&str, FsResult<()>, FsError)> = vec![
            ("list", v.opendir(dir).map(drop), FsError::AccessDenied),
            (
                "look up",
                v.lookup(at(dir, "x")).map(drop),
                FsError::AccessDenied,
            ),
            (
                "create",
                v.create(&CALLER, at(dir, "x"), 0o600, RW).map(drop),
                FsError::AccessDenied,
            ),
            (
                "mkdir",
                v.mkdir(&CALLER, at(dir, "x"), 0o700).map(drop),
                FsError::AccessDenied,
            ),
            (
                "chmod",
                v.setattr(dir, None, &perm).map(drop),
                FsError::AccessDenied,
            ),
            (
                "xattr",
                v.setxattr(dir, b"user.x", b"1", XattrMode::Set),
                FsError::AccessDenied,
            ),
            ("rmdir", v.rmdir(at(root, "stub")), FsError::NotPermitted),
            (
                "move in",
                site.rename((root, "stub"), (own, "x")),
                FsError::CrossTree,
            ),
        ];
        for (what, result, expected) in tried {
            assert_eq!(result, Err(expected), "{round}: {what}");
        }
        let shares = v.shares().unwrap();
        assert_eq!((shares.len(), shares[0].root), (1, own), "{round}");
        let locked = v.locked_shares().unwrap();
        assert_eq!((locked.len(), locked[0].root), (1, dir), "{round}");
        assert_eq!(*locked[0].data, *b"kept", "{round}");
        v.sync().unwrap();
        if round == "at first" {
            site.remount();
        } else {
            site.crash();
        }
    }
    site.check();
}

#[test]
fn a_locked_directory_opens_where_it_is_and_is_a_share_from_then_on() {
    let (mut site, dir) = locked();
    let v = site.v();
    let again = v.begin_share(SHARE, site.mkdir(Ino::ROOT, "other"), b"");
    assert!(again.is_err(), "one share is at two places");
    let number = v.locked_shares().unwrap()[0].number;
    v.sync().unwrap();
    v.unlock_share(number).unwrap();
    assert_eq!(v.unlock_share(number), Err(FsError::NotFound));
    assert_ne!(v.getattr(dir).unwrap().perm & 0o100, 0);
    site.file(dir, "inside", b"x");
    let share = site.v().shares().unwrap().remove(0);
    assert_eq!((share.root, share.id, share.data.len()), (dir, SHARE, 0));
    assert!(site.v().pending_marks(share.number).unwrap() > 0);
    site.v().sync().unwrap();
    site.crash();
    assert_eq!(site.v().shares().unwrap().len(), 1);
    assert!(site.v().lookup(at(dir, "inside")).is_ok());
    site.check();
}

#[test]
fn a_locked_directory_ends_as_an_ordinary_one_and_takes_no_name_that_is_there() {
    let (site, dir) = locked();
    let v = site.v();
    let locking =
        |parent, name, id| v.begin_locked(ShareId([id; 32]), at(parent, name), &CALLER, b"");
    assert_eq!(locking(Ino::ROOT, "stub", 9), Err(FsError::Exists));
    assert_eq!(
        locking(dir, "x", 9),
        Err(FsError::Busy),
        "one within another"
    );
    let own = site.mkdir(Ino::ROOT, "own");
    v.begin_share(ShareId([8; 32]), own, b"").unwrap();
    assert_eq!(locking(own, "x", 9), Err(FsError::Busy));
    let file = site.file(Ino::ROOT, "file", b"x");
    assert_eq!(locking(file, "x", 9), Err(FsError::NotADirectory(file)));
    let again = v.begin_locked(SHARE, at(Ino::ROOT, "twice"), &CALLER, b"");
    assert_eq!(again, Err(FsError::Busy), "one share at two places");
    v.end_share(v.locked_shares().unwrap()[0].number).unwrap();
    assert_ne!(v.getattr(dir).unwrap().perm & 0o100, 0);
    v.rmdir(at(Ino::ROOT, "stub")).unwrap();
    site.check();
}
