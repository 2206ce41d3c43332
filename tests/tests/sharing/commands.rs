//! Commands that make no sense say so, and change nothing.

use std::fs;

use crate::scene::{World, command, run, status, text};

#[test]
fn a_line_that_makes_no_sense_fails_with_its_errno_and_says_why() {
    let world = World::new();
    let (alice, _bob) = world.two();
    let mount = alice.vault.mount();
    for directory in ["Reports/inner", "Linked", "Free"] {
        fs::create_dir_all(mount.join(directory)).unwrap();
    }
    std::os::unix::fs::symlink("Free", mount.join("link")).unwrap();
    fs::write(mount.join("Linked/a"), "x").unwrap();
    fs::hard_link(mount.join("Linked/a"), mount.join("outside")).unwrap();
    run(&["share", text(&mount.join("Reports")), "bob"]);
    for (line, errno, said) in [
        ("share", libc::EINVAL, "required"),
        ("share Free", libc::EINVAL, "required"),
        ("share Free bob --all", libc::EINVAL, "--all"),
        (
            "share Free bob --write --owner",
            libc::EINVAL,
            "cannot be used",
        ),
        ("share Free BOB", libc::EINVAL, "BOB"),
        ("share Free bob --key XXXX", libc::EINVAL, "fingerprint"),
        ("share Free bob extra", libc::EINVAL, "extra"),
        ("share nowhere bob", libc::ENOENT, "there is no nowhere"),
        (
            "share link bob",
            libc::ENOENT,
            "neither a folder nor a file",
        ),
        ("share outside bob", libc::EBUSY, "other hard links"),
        ("share Free/../Reports bob", libc::EINVAL, ""),
        ("share / bob", libc::EINVAL, "whole mount"),
        ("share Free nobody", libc::ENOENT, "nobody is called nobody"),
        ("share Free alice", libc::EINVAL, "your own account"),
        ("share Reports bob", libc::EBUSY, "takes part already"),
        ("share Reports/inner bob", libc::EBUSY, "lies in a share"),
        (
            "share Linked bob",
            libc::EBUSY,
            "hard links outside of it: a",
        ),
        ("unshare Free bob", libc::ENOENT, "not shared"),
        ("unshare Reports carol", libc::ENOENT, "carol is no member"),
        ("role Reports bob king", libc::EINVAL, "king"),
        ("role nothing bob writer", libc::ENOENT, "no share"),
        ("members zz", libc::ENOENT, "no share"),
        ("approve 12345678", libc::ENOENT, "no request"),
        ("accept carol", libc::ENOENT, "nothing of carol"),
        ("folder nowhere", libc::ENOENT, "there is no nowhere"),
        (r#"{"command":"share","path":"Free"}"#, libc::EINVAL, "user"),
        (
            r#"{"command":"share","path":"Free","user":"bob","x":1}"#,
            libc::EINVAL,
            "x",
        ),
        ("trust bob", libc::EINVAL, "unknown command"),
        ("account show", libc::EINVAL, "unknown command"),
    ] {
        let (failed, reply) = command(&mount, line);
        assert_eq!(failed, Some(errno), "{line}: {reply}");
        assert!(reply.contains(said), "{line}: {reply}");
    }
    let shares = status(&mount)["sharing"]["shares"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(shares, 1, "what failed left something behind");
    mount.unmount();

    let mount = alice.vault.mount_with(&["-o", "control=read"]);
    let (failed, reply) = command(&mount, "share Free bob");
    assert_eq!(failed, Some(libc::EACCES), "{reply}");
    assert_eq!(command(&mount, "people").0, None);
    mount.unmount();
    alice.vault.check();
}
