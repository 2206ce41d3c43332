//! Where passwords come from, and what can be done with the slots that hold them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::sandbox::{PASSWORD, Sandbox};

const LIST: [&str; 3] = ["ls", "v", "--password-file"];

fn opens(sandbox: &Sandbox, password: &str) -> bool {
    let outcome = sandbox.run_with_input(["ls", "v", "--password-stdin"], password);
    match outcome.code {
        Some(0) => true,
        Some(12) => false,
        _ => panic!("{outcome:?}"),
    }
}

#[test]
fn a_password_can_come_from_a_file_a_command_or_standard_input() {
    let sandbox = Sandbox::with_vault();
    fs::write(
        sandbox.path("dos"),
        format!("{PASSWORD}\r\nnot this line\n"),
    )
    .unwrap();
    for args in [
        &["--password-file", "pw"][..],
        &["--password-file", "dos"],
        &["--password-command", "cat pw; yes"],
    ] {
        sandbox.run(["ls", "v"].iter().chain(args)).expect(0);
    }
    assert!(opens(&sandbox, PASSWORD));
    assert!(!opens(&sandbox, "incorrect horse"));
}

#[test]
fn without_a_terminal_nothing_is_asked() {
    let sandbox = Sandbox::with_vault();
    let before = sandbox.snapshot("");
    for args in [
        &["mount", "v", "m"][..],
        &["ls", "v"],
        &["cat", "v", "x"],
        &["get", "v", "x", "y"],
        &["export", "v", "y"],
        &["check", "v"],
        &["init", "w"],
        &["passwd", "add", "v"],
        &["passwd", "change", "v"],
        &["passwd", "remove", "v", "1"],
        &["account", "show", "v"],
        &["account", "kit", "v"],
        &["people", "v"],
        &["trust", "bob", "v"],
        &["inbox", "v"],
    ] {
        sandbox.run(args).refused(16, "not a terminal");
    }
    let no_new = sandbox.run(["passwd", "change", "v", "--password-file", "pw"]);
    no_new.refused(16, "new password: standard input is not a terminal");
    assert_eq!(sandbox.snapshot(""), before);
}

#[test]
fn a_password_that_cannot_be_had_is_told_with_its_source() {
    let sandbox = Sandbox::with_vault();
    fs::write(sandbox.path("empty"), "").unwrap();
    fs::write(sandbox.path("binary"), b"\xff\xfe\n").unwrap();
    fs::write(sandbox.path("long"), "x".repeat(5000)).unwrap();
    let list = |file| sandbox.run(LIST.iter().copied().chain([file]));
    list("missing").refused(16, "cannot read the password file missing: no such file");
    list("empty").refused(16, "is empty");
    list("binary").refused(16, "UTF-8");
    list("long").refused(16, "longer than 4096 bytes");
    let failing = sandbox.run(["ls", "v", "--password-command", "echo x; exit 3"]);
    failing.refused(16, "password command failed (exit status: 3)");
    let init = sandbox.run(["init", "w", "--password-file", "empty"]);
    init.refused(16, "is empty");
    assert!(!sandbox.path("w").exists());
}

#[test]
fn the_recovery_key_opens_the_vault() {
    let sandbox = Sandbox::new();
    let made = sandbox.run([
        "init",
        "v",
        "--password-file",
        "pw",
        "--recovery-file",
        "rk",
    ]);
    let key = fs::read_to_string(sandbox.path("rk")).unwrap();
    assert!(!made.expect(0).out.contains(key.trim()));
    assert_eq!(
        sandbox.path("rk").metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    let list = |file| sandbox.run(LIST.iter().copied().chain([file, "--recovery-key"]));
    list("rk").expect(0);
    fs::write(sandbox.path("typo"), key.replacen('-', "-0", 1)).unwrap();
    list("typo").refused(16, "typing error");
    let other = sandbox.run([
        "init",
        "w",
        "--password-file",
        "pw",
        "--recovery-file",
        "rk",
    ]);
    other.refused(41, "cannot write the recovery key to rk: file exists");
    assert!(!sandbox.path("w").exists());
}

#[test]
fn init_prints_the_recovery_key_once_and_it_works() {
    let sandbox = Sandbox::new();
    let out = sandbox
        .run(["init", "v", "--password-file", "pw"])
        .expect(0)
        .out;
    let key = out
        .lines()
        .find(|line| line.starts_with("    "))
        .unwrap()
        .trim();
    fs::write(sandbox.path("rk"), key).unwrap();
    sandbox
        .run(["ls", "v", "--recovery-key", "--password-file", "rk"])
        .expect(0);
}

#[test]
fn passwords_are_added_changed_and_removed() {
    let sandbox = Sandbox::with_vault();
    fs::write(sandbox.path("new"), "battery staple").unwrap();
    let pw = ["--password-file", "pw"];
    let new = ["--new-password-file", "new", "--iter-time", "1"];
    let passwd = |args: &[&str]| sandbox.run(["passwd"].iter().chain(args));

    passwd(&[&["add", "v", "--label", "laptop"], &pw[..], &new[..]].concat()).expect(0);
    assert!(opens(&sandbox, "battery staple") && opens(&sandbox, PASSWORD));
    let listed = passwd(&["list", "v", "--json"]).expect(0).out;
    let slots: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let labels: Vec<_> = slots
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["label"].clone())
        .collect();
    assert_eq!(labels, ["password", "recovery key", "laptop"]);

    let mut change = vec![
        "change",
        "v",
        "--password-stdin",
        "--new-password-stdin",
        "--iter-time",
        "1",
    ];
    change.insert(0, "passwd");
    let changed = sandbox.run_with_input(&change, &format!("{PASSWORD}\nthird\n"));
    assert!(changed.expect(0).out.contains("slot 1"));
    assert!(opens(&sandbox, "third") && !opens(&sandbox, PASSWORD));

    let slot = slots[2]["slot"].to_string();
    let third = ["--password-command", "echo third"];
    passwd(&[&["remove", "v", &slot], &third[..]].concat()).expect(0);
    assert!(!opens(&sandbox, "battery staple"));
    passwd(&[&["remove", "v", &slot], &third[..]].concat()).refused(17, "no key slot");
    passwd(&[&["remove", "v", "2"], &third[..]].concat()).expect(0);
    passwd(&[&["remove", "v", "1"], &third[..]].concat()).refused(17, "last one");
    assert!(opens(&sandbox, "third"));

    let added = passwd(&[&["add", "v", "--new-recovery-key"], &third[..]].concat()).expect(0);
    assert!(added.out.contains("Recovery key:"));
}
