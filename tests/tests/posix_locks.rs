//! Advisory locks between processes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};

use keyfold_tests::{Vault, program, shell, try_shell};
use rustix::fs::{FlockOperation, flock};

#[test]
fn flock_excludes_another_process_until_released() {
    let vault = Vault::new();
    let mount = vault.mount();
    fs::write(mount.join("lock"), "").unwrap();
    let file = File::open(mount.join("lock")).unwrap();
    flock(&file, FlockOperation::LockExclusive).unwrap();
    let other = || {
        try_shell(
            mount.path(),
            "flock --nonblock --conflict-exit-code 9 lock true",
        )
    };
    assert_eq!(other().code, Some(9), "{}", other());
    flock(&file, FlockOperation::LockShared).unwrap();
    shell(mount.path(), "flock --nonblock --shared lock true");
    assert_eq!(other().code, Some(9));
    flock(&file, FlockOperation::Unlock).unwrap();
    other().expect_success("flock of a free file");
}

#[test]
fn flock_ends_with_the_last_descriptor() {
    let vault = Vault::new();
    let mount = vault.mount();
    let script = "
        exec 9>lock; flock 9
        ! flock --nonblock lock true
        exec 9>&-
        flock --nonblock lock true
    ";
    shell(mount.path(), script);
}

/// Locks bytes 100..200 in one process and tries from another.
const RANGES: &str = r#"
import fcntl, os, sys
f = open(sys.argv[1], "r+b")
fcntl.lockf(f, fcntl.LOCK_EX, 100, 100)
def child(start, length, kind=fcntl.LOCK_EX):
    pid = os.fork()
    if pid == 0:
        g = open(sys.argv[1], "r+b")
        try:
            fcntl.lockf(g, kind | fcntl.LOCK_NB, length, start)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert child(0, 100) and child(200, 50), "bytes outside the range are free"
assert not child(199, 1) and not child(0, 0), "bytes in the range are not"
fcntl.lockf(f, fcntl.LOCK_SH, 100, 100)
assert child(150, 10, fcntl.LOCK_SH) and not child(150, 10), "a shared lock is shared"
open(sys.argv[1]).close()
assert child(150, 10), "closing any descriptor of the file ends a process's locks"
"#;

#[test]
fn posix_record_locks_cover_their_range_between_processes() {
    let vault = Vault::new();
    let mount = vault.mount();
    fs::write(mount.join("file"), vec![0; 1000]).unwrap();
    let done = program("python3")
        .args(["-c", RANGES])
        .arg(mount.join("file"))
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// One process waits for a lock that another holds; then two lock crosswise.
const WAITING: &str = r#"
import errno, fcntl, os, sys
f = open(sys.argv[1], "r+b")
fcntl.lockf(f, fcntl.LOCK_EX, 1, 0)
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    g = open(sys.argv[1], "r+b")
    fcntl.lockf(g, fcntl.LOCK_EX, 1, 1)
    os.write(w, b"x")
    fcntl.lockf(g, fcntl.LOCK_EX, 1, 0)
    os._exit(0)
os.read(r, 1)
# The child may wait by now or soon: whoever closes the circle is told, nobody hangs.
try:
    fcntl.lockf(f, fcntl.LOCK_EX, 1, 1)
except OSError as error:
    assert error.errno == errno.EDEADLK, error
    fcntl.lockf(f, fcntl.LOCK_UN, 1, 0)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert status in (0, 1), status
"#;

#[test]
fn crosswise_waiting_for_locks_is_refused_rather_than_hanging() {
    let vault = Vault::new();
    let mount = vault.mount();
    fs::write(mount.join("file"), vec![0; 10]).unwrap();
    let done = program("python3")
        .args(["-c", WAITING])
        .arg(mount.join("file"))
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}
