//! Symlinks that others made and that are not to be followed.

use keyfold_fs::error::FsError;
use keyfold_fs::share::{At, Change, Changes, What};
use keyfold_fs::vfs::{Ino, Vfs};
use keyfold_fs::volume::BarredSymlinks;

use crate::site::{Site, at};

fn made(number: u8, name: &str, perm: u16) -> Change {
    Change::Make {
        at: At {
            parent: keyfold_fs::share::NodeId::ROOT,
            name: name.into(),
        },
        node: keyfold_fs::share::NodeId([number; 16]),
        what: What::Symlink(b"/etc/passwd".to_vec()),
        perm,
        mtime: keyfold_fs::vfs::Timestamp::default(),
    }
}

fn found(site: &Site, dir: Ino, name: &str) -> Ino {
    let entry = site.v().lookup(at(dir, name)).unwrap();
    site.v().forget(entry.attr.ino, 1);
    entry.attr.ino
}

#[test]
fn a_symlink_made_without_permissions_is_listed_and_never_followed_unless_that_is_asked_for() {
    let mut site = Site::shared();
    let changes = Changes {
        list: vec![made(1, "barred", 0), made(2, "plain", 0o777)],
        ..Changes::default()
    };
    site.v().apply_to_share(site.share, &changes).unwrap();
    let check = |site: &Site, dir| {
        let (barred, plain) = (found(site, dir, "barred"), found(site, dir, "plain"));
        let attr = site.v().getattr(barred).unwrap();
        assert_eq!((attr.perm, attr.size), (0, 11));
        assert_eq!(site.v().readlink(barred), Err(FsError::AccessDenied));
        assert_eq!(site.v().readlink(plain).unwrap(), b"/etc/passwd");
        // Whoever syncs has to know it.
        let view = site.v().view_node(barred).unwrap();
        assert_eq!(view.target.as_deref(), Some(&b"/etc/passwd"[..]));
    };
    let root = site.root;
    check(&site, root);
    // It stays so under another name, after a crash, and when the share has ended.
    site.mkdir(root, "d");
    site.rename((root, "barred"), (found(&site, root, "d"), "other"))
        .unwrap();
    site.rename((found(&site, root, "d"), "other"), (root, "barred"))
        .unwrap();
    site.v().sync().unwrap();
    site.crash();
    check(&site, root);
    site.v().end_share(site.share).unwrap();
    check(&site, root);
    site.check();
    site.remount_with(BarredSymlinks::Followed);
    let barred = found(&site, root, "barred");
    assert_eq!(site.v().readlink(barred).unwrap(), b"/etc/passwd");
}
