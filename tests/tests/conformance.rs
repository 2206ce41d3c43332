//! pjdfstest: the POSIX conformance suite, with the exceptions of `data/pjdfstest.toml`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use keyfold_tests::{OrdinaryUser, Vault, program, shell, tool};

/// Runs the cases whose names contain one of `patterns`, all if there are none; panics when one
/// fails, or when one passes that is listed as an exception.
fn pjdfstest(patterns: &[&str]) {
    let vault = Vault::new();
    let mount = vault.mount_with(&["--allow-other"]);
    fs::create_dir(mount.join("work")).unwrap();
    shell(mount.path(), "chmod 755 . work");
    let user = OrdinaryUser::get();
    let given = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/pjdfstest.toml");
    let users = format!(
        "\n[dummy_auth]\nentries = [[\"nobody\", \"nogroup\"], [\"{0}\", \"{0}\"]]\n",
        user.name()
    );
    let config = fs::read_to_string(given).unwrap() + &users;
    let config = vault.sandbox().file("pjdfstest.toml", config);
    let other = vault.sandbox().dir("other");
    shell(
        Path::new("/"),
        &format!("mount -t tmpfs none {0}; chmod 755 {0}", other.display()),
    );
    let output = program(tool("pjdfstest"))
        .arg("-c")
        .arg(&config)
        .arg("-p")
        .arg(mount.join("work"))
        .arg("-s")
        .arg(&other)
        .arg("--")
        .args(patterns)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let summary = said
        .lines()
        .find(|line| line.contains("Summary"))
        .unwrap_or("no summary");
    println!("{summary}");
    let interesting = |line: &&str| !line.trim_end().ends_with("ok") && !line.contains(" ok");
    let failures: Vec<_> = said.lines().filter(interesting).collect();
    assert!(
        output.status.success(),
        "{}\n{}",
        failures.join("\n"),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn pjdfstest_finds_no_deviation() {
    pjdfstest(&[]);
}
