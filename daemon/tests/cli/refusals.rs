//! Vaults that cannot be used, and places where none can be made.

use std::fs;

use crate::sandbox::Sandbox;

const PW: [&str; 2] = ["--password-file", "pw"];

/// Every command that opens a vault, up to the vault's path, and after it.
const OPENERS: [(&[&str], &[&str]); 8] = [
    (&["mount"], &["m"]),
    (&["ls"], &[]),
    (&["cat"], &["x"]),
    (&["get"], &["x", "y"]),
    (&["export"], &["y"]),
    (&["check"], &[]),
    (&["passwd", "remove"], &["1"]),
    (&["passwd", "add"], &["--new-password-file", "pw"]),
];

#[track_caller]
fn every_opener_refuses(sandbox: &Sandbox, code: i32, words: &str) {
    let before = sandbox.snapshot("");
    for (command, rest) in OPENERS {
        let line = [command, &["v"], rest, &PW].concat();
        sandbox.run(&line).refused(code, words);
    }
    assert_eq!(sandbox.snapshot(""), before);
    assert!(!sandbox.is_mounted("m"));
}

#[test]
fn a_vault_that_is_missing_is_refused() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("m")).unwrap();
    every_opener_refuses(&sandbox, 10, "does not exist");
    sandbox.run(["info", "v"]).refused(10, "does not exist");
    sandbox
        .run(["passwd", "list", "v"])
        .refused(10, "does not exist");
    sandbox
        .run(["header", "backup", "v", "h"])
        .refused(10, "does not exist");
}

#[test]
fn what_is_not_a_vault_is_refused() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("m")).unwrap();
    fs::create_dir(sandbox.path("v")).unwrap();
    fs::write(sandbox.path("v/letter"), "x").unwrap();
    every_opener_refuses(&sandbox, 10, "not a Keyfold vault");
    sandbox
        .run(["info", "v"])
        .refused(10, "not a Keyfold vault");
    fs::remove_dir_all(sandbox.path("v")).unwrap();
    fs::write(sandbox.path("v"), "x").unwrap();
    every_opener_refuses(&sandbox, 10, "not a directory");
}

#[test]
fn a_wrong_password_is_refused() {
    let sandbox = Sandbox::with_vault();
    fs::write(sandbox.path("pw"), "guess").unwrap();
    every_opener_refuses(&sandbox, 12, "wrong password");
}

#[test]
fn a_vault_of_a_newer_format_is_refused() {
    let sandbox = Sandbox::with_vault();
    for copy in ["v/superblock.json", "v/superblock.bak"] {
        let text = fs::read_to_string(sandbox.path(copy)).unwrap();
        let newer = text.replacen("\"version\": 1", "\"version\": 2", 1);
        assert_ne!(text, newer);
        fs::write(sandbox.path(copy), newer).unwrap();
    }
    every_opener_refuses(&sandbox, 14, "use a newer Keyfold");
    sandbox
        .run(["info", "v"])
        .refused(14, "use a newer Keyfold");
}

#[test]
fn a_damaged_header_is_refused_and_can_be_restored() {
    let sandbox = Sandbox::with_vault();
    sandbox.run(["header", "backup", "v", "h"]).expect(0);
    sandbox
        .run(["header", "backup", "v", "h"])
        .refused(41, "exists");
    for copy in ["v/superblock.json", "v/superblock.bak"] {
        fs::write(sandbox.path(copy), "{ \"format\": ").unwrap();
    }
    every_opener_refuses(&sandbox, 13, "header restore");
    sandbox
        .run(["header", "restore", "v", "pw"])
        .refused(13, "choose another header backup");
    let restored = sandbox.run(["header", "restore", "v", "h"]).expect(0);
    assert!(restored.out.contains("superblock.replaced-"));
    sandbox.run([&["ls", "v"], &PW[..]].concat()).expect(0);
}

#[test]
fn a_vault_without_its_database_is_refused() {
    let sandbox = Sandbox::with_vault();
    fs::remove_file(sandbox.path("v/meta.db")).unwrap();
    every_opener_refuses(&sandbox, 13, "lacks meta.db");
}

#[test]
fn a_vault_is_made_only_where_nothing_is() {
    let sandbox = Sandbox::with_vault();
    fs::create_dir(sandbox.path("full")).unwrap();
    fs::write(sandbox.path("full/letter"), "x").unwrap();
    fs::write(sandbox.path("file"), "x").unwrap();
    let before = sandbox.snapshot("");
    let init = |at: &str| sandbox.run([&["init", at], &PW[..]].concat());
    init("v").refused(15, "is a vault already");
    init("full").refused(15, "not empty");
    init("file").refused(10, "not a directory");
    init("missing/v").refused(10, "does not exist");
    assert_eq!(sandbox.snapshot(""), before);
    // An empty directory will do.
    init("m").expect(0);
}

#[test]
fn a_vault_can_be_shown_without_its_password() {
    let sandbox = Sandbox::with_vault();
    let text = sandbox.run(["info", "v"]).expect(0).out;
    assert!(text.contains("cipher:   AES-256-XTS+HMAC-SHA-256"));
    let json = sandbox.run(["info", "v", "--json"]).expect(0).out;
    let info: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(info["format"], 1);
    assert_eq!(info["slots"].as_array().unwrap().len(), 2);
}

#[test]
fn a_full_disk_leaves_nothing_of_a_new_vault_behind() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("disk")).unwrap();
    let options = Some("size=64k");
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(
        Some("none"),
        &sandbox.path("disk"),
        Some("tmpfs"),
        flags,
        options,
    )
    .unwrap();
    let init = sandbox.run([&["init", "disk/v", "--iter-time", "1"], &PW[..]].concat());
    init.refused(30, "no space left");
    assert_eq!(fs::read_dir(sandbox.path("disk")).unwrap().count(), 0);
}
