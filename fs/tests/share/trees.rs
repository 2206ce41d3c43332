//! Shared trees, compared by what members see of them.

use std::collections::BTreeMap;

use keyfold_fs::share::{NodeId, NodeView};
use keyfold_fs::vfs::{FileKind, FileRange, Ino, Vfs};

use crate::site::{RO, Site};

type Seen = BTreeMap<Vec<u8>, (NodeId, NodeView, Vec<u8>)>;

/// All bytes of a file.
pub(crate) fn read(site: &Site, ino: Ino) -> Vec<u8> {
    let handle = site.open(ino, RO);
    let size = site.v().getattr(ino).unwrap().size as usize;
    let mut buf = vec![0; size];
    let range = FileRange {
        ino,
        handle,
        offset: 0,
    };
    assert_eq!(site.v().read(range, &mut buf).unwrap(), size);
    site.close(ino, handle);
    buf
}

fn seen(site: &Site) -> Seen {
    let mut all = Seen::new();
    let mut left = vec![(site.root, Vec::new())];
    while let Some((dir, path)) = left.pop() {
        for entry in site.v().view_entries(dir).unwrap() {
            let path = [&path[..], b"/", &entry.name].concat();
            let mut view = site.v().view_node(entry.ino).unwrap();
            view.perm &= 0o777;
            view.xattrs.sort();
            let data = match entry.kind {
                FileKind::Directory => {
                    left.push((entry.ino, path.clone()));
                    Vec::new()
                }
                FileKind::Regular => read(site, entry.ino),
                FileKind::Symlink => Vec::new(),
                _ => continue,
            };
            all.insert(path, (entry.node, view, data));
        }
    }
    all
}

#[track_caller]
pub(crate) fn assert_same(a: &Site, b: &Site) {
    let (a, b) = (seen(a), seen(b));
    let names: Vec<_> = a.keys().map(|k| String::from_utf8_lossy(k)).collect();
    let others: Vec<_> = b.keys().map(|k| String::from_utf8_lossy(k)).collect();
    assert_eq!(names, others);
    for (path, of_a) in &a {
        let of_b = &b[path];
        let path = String::from_utf8_lossy(path);
        assert_eq!((of_a.0, &of_a.1), (of_b.0, &of_b.1), "{path}");
        assert!(of_a.2 == of_b.2, "contents of {path} differ");
    }
}
