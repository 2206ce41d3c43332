//! All pairs of operations, with and without something made durable between and after them: the
//! small sequences in which filesystems were found to be wrong (Mohan et al., OSDI 2018).

use crate::recorded::act::Act;
use crate::recorded::words::{
    append, chmod, create, exchange, extend, fsync, fsync_held, hold, let_go, link, mkdir, punch,
    remove_xattr, rename, rmdir, set_mtime, set_xattr, symlink, sync, truncate, unlink, write,
};

/// What each sequence begins with: two files with content, one of them open, and a directory.
fn setting() -> Vec<Act> {
    vec![
        create("a"),
        write("a", 0, 10_000, 1),
        set_xattr("a", "user.was", b"there"),
        mkdir("d"),
        create("d/b"),
        write("d/b", 0, 5000, 2),
        mkdir("e"),
        hold("a"),
        sync(),
    ]
}

/// The operations.
fn core() -> Vec<Vec<Act>> {
    vec![
        vec![create("c")],
        vec![create("c"), write("c", 0, 7000, 3)],
        vec![append("a", 3000, 4)],
        vec![write("a", 2000, 5000, 5)],
        vec![write("a", 50_000, 5000, 6)],
        vec![write("d/b", 0, 5000, 7)],
        vec![truncate("a", 5000)],
        vec![truncate("a", 0)],
        vec![truncate("a", 30_000)],
        vec![extend("a", 40_000)],
        vec![punch("a", 1000, 7500)],
        vec![rename("a", "c")],
        vec![rename("a", "d/b")],
        vec![create("n"), write("n", 0, 6000, 8), rename("n", "a")],
        vec![exchange("a", "d/b")],
        vec![link("a", "l")],
        vec![unlink("a")],
        vec![unlink("d/b")],
        vec![mkdir("m")],
        vec![rmdir("e")],
        vec![rename("d", "e")],
        vec![symlink("s", "a")],
        vec![chmod("a", 0o600)],
        vec![set_mtime("a", 99)],
        vec![set_xattr("a", "user.new", b"value")],
        vec![remove_xattr("a", "user.was")],
    ]
}

/// What may be made durable between the two.
fn between() -> Vec<Option<Act>> {
    vec![None, Some(fsync_held("a")), Some(fsync(""))]
}

/// What is made durable after them.
fn after() -> Vec<Act> {
    vec![fsync_held("a"), fsync(""), sync()]
}

/// All sequences, each within a directory of its own.
pub fn all() -> Vec<Vec<Act>> {
    let mut sequences = Vec::new();
    for first in core() {
        for between in between() {
            for second in core() {
                for after in after() {
                    let mut acts = setting();
                    acts.extend(first.iter().cloned());
                    acts.extend(between.clone());
                    acts.extend(second.iter().cloned());
                    acts.push(after);
                    acts.push(let_go("a"));
                    let dir = format!("s{}", sequences.len());
                    let acts = acts.into_iter().map(|act| act.beneath(&dir));
                    sequences.push([mkdir(&dir)].into_iter().chain(acts).collect());
                }
            }
        }
    }
    sequences
}
