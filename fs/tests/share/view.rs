//! What is viewed is durable, and stays as it is while it is viewed.

use keyfold_crypto::{FileId, FileKey, leaf_hash};
use keyfold_fs::vfs::Vfs;
use keyfold_fs::volume::ContentView;

use crate::site::{RW, Site, at, pattern};

/// Plaintext of a view, by nothing but its keys.
fn opened(view: &ContentView, file: FileId) -> Vec<u8> {
    let mut out = vec![0; (view.size() as usize).next_multiple_of(4096)];
    let ciphers: Vec<_> = view.keys().iter().map(FileKey::cipher).collect();
    for leaf in view.leaves() {
        let mut tags = [None; 64];
        for block in &leaf.blocks {
            let (sealed, key) = block.sealed.unwrap();
            let mut data = [0; 4096];
            view.read(leaf.index, block.position, &mut data).unwrap();
            let index = u64::from(leaf.index) * 64 + u64::from(block.position);
            let cipher = ciphers.iter().find(|c| c.key_id() == key).unwrap();
            cipher
                .open_run(&file, &[(index, sealed)], &mut data)
                .unwrap();
            out[index as usize * 4096..][..4096].copy_from_slice(&data);
            tags[usize::from(block.position)] = Some(sealed.tag);
        }
        let hash = leaf_hash(u64::from(leaf.index), &tags);
        assert_eq!(leaf.hash, Some(hash));
    }
    out.truncate(view.size() as usize);
    out
}

#[test]
fn a_view_shows_the_file_as_it_was_whatever_happens_to_it() {
    let site = Site::shared();
    let data = pattern(3_000_000, 4);
    let file = site.file(site.root, "f", &data);
    let id = FileId(site.member(file).unwrap().0);
    let view = site.v().view_content(file).unwrap();
    assert_eq!(opened(&view, id), data);
    for round in 0..6 {
        site.overwrite(file, 0, &pattern(3_000_000, round));
        site.v().sync().unwrap();
    }
    site.v().forget(file, 1);
    site.v().unlink(at(site.root, "f")).unwrap();
    for _ in 0..4 {
        site.v().sync().unwrap();
    }
    assert_eq!(opened(&view, id), data);
    site.check();
}

#[test]
fn what_was_viewed_is_given_back_when_nobody_views_it_any_more() {
    let site = Site::shared();
    let file = site.file(site.root, "f", &pattern(8 << 20, 4));
    let view = site.v().view_content(file).unwrap();
    assert_eq!(site.v().status().held_back_bytes, 0);
    site.overwrite(file, 0, &pattern(8 << 20, 5));
    site.v().sync().unwrap();
    assert_eq!(site.v().status().held_back_bytes, 8 << 20);
    drop(view);
    assert_eq!(site.v().status().held_back_bytes, 0);
    site.v().sync().unwrap();
    site.check();
}

#[test]
fn what_is_viewed_is_durable_and_needs_nobody_to_stop_writing() {
    let mut site = Site::shared();
    let file = site.file(site.root, "f", b"first");
    let handle = site.open(file, RW);
    site.write(file, handle, 0, b"other").unwrap();
    // Small enough for the journal, which a view cannot be of.
    site.v().fsync(file, handle).unwrap();
    site.write(file, handle, 5, b" things").unwrap();
    let view = site.v().view_content(file).unwrap();
    site.write(file, handle, 0, b"later").unwrap();
    let id = FileId(site.member(file).unwrap().0);
    assert_eq!(opened(&view, id), b"other things");
    drop(view);
    site.close(file, handle);
    site.crash();
    let view = site.v().view_content(file).unwrap();
    assert_eq!(opened(&view, id), b"other things");
}

#[test]
fn a_sparse_file_is_viewed_by_its_data_alone() {
    let site = Site::shared();
    let file = site.file(site.root, "f", b"");
    site.overwrite(file, 50 << 20, b"far");
    let view = site.v().view_content(file).unwrap();
    assert_eq!(view.leaves().len(), 1);
    assert_eq!(view.leaves()[0].index, 200);
    assert_eq!(view.size(), (50 << 20) + 3);
    let empty = site.file(site.root, "g", b"");
    let view = site.v().view_content(empty).unwrap();
    assert_eq!((view.size(), view.leaves().len()), (0, 0));
    site.v().view_content(site.root).map(drop).unwrap_err();
}
