//! Folders shared between mounted vaults, through a real server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyfold_tests::{Mount, Outcome, Sandbox, Server, Vault, keyfold, until};
use serde_json::Value;

/// Longest time until a change is seen by others.
const SOON: Duration = Duration::from_secs(30);

/// A server, and people with a vault each.
struct World {
    server: Server,
    sandbox: Sandbox,
}

/// Somebody with an account and a vault.
struct Person {
    name: &'static str,
    vault: Vault,
}

impl World {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        Self {
            server: Server::new(&sandbox),
            sandbox,
        }
    }

    fn person(&self, name: &'static str) -> Person {
        let vault = Vault::new();
        let password = self.sandbox.file("account-password", "tall giraffe\n");
        let (url, email) = (self.server.url(), format!("{name}@example.org"));
        let kit = vault.sandbox().path().join("kit");
        let registered = on_vault(
            &vault,
            &[
                "account",
                "register",
                name,
                text(vault.path()),
                "--server",
                &url,
                "--email",
                &email,
                "--kit-file",
                text(&kit),
                "--new-account-password-file",
                text(&password),
            ],
        );
        registered.expect_success("keyfold account register");
        Person { name, vault }
    }

    /// Alice and Bob, who verified one another.
    fn two(&self) -> (Person, Person) {
        let (alice, bob) = (self.person("alice"), self.person("bob"));
        alice.trusts(&bob);
        bob.trusts(&alice);
        (alice, bob)
    }
}

impl Person {
    fn fingerprint(&self) -> String {
        let path = text(self.vault.path());
        let shown = on_vault(&self.vault, &["account", "show", path, "--json"]);
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        shown["fingerprint"].as_str().unwrap().to_owned()
    }

    fn trusts(&self, other: &Self) {
        let (path, fingerprint) = (text(self.vault.path()), other.fingerprint());
        let trust = ["trust", other.name, path, "--fingerprint", &fingerprint];
        on_vault(&self.vault, &trust).expect_success("keyfold trust");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn on_vault(vault: &Vault, arguments: &[&str]) -> Outcome {
    let password = ["--password-file", text(vault.password_file())];
    keyfold(arguments.iter().chain(&password))
}

fn run(arguments: &[&str]) -> String {
    let done = keyfold(arguments);
    done.expect_success(arguments.join(" "));
    done.stdout
}

/// A directory of a mount with a file in it, given to somebody.
fn shared(mount: &Mount, user: &str, role: &[&str]) -> PathBuf {
    let reports = mount.join("Reports");
    fs::create_dir(&reports).unwrap();
    fs::write(reports.join("first"), "from alice").unwrap();
    run(&[&["share", text(&reports), user], role].concat());
    reports
}

/// What the mounts know, should the test fail.
struct Told<'m>(&'m [&'m Mount]);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for mount in self.0 {
                let status = fs::read_to_string(mount.join(".keyfold/status"));
                let status: Value = serde_json::from_str(&status.unwrap_or_default()).unwrap_or_default();
                eprintln!("--- {}\n{:#}", mount.path().display(), status["sharing"]);
            }
        }
    }
}

#[track_caller]
fn comes(path: &Path, content: &str) {
    let mut last = None;
    until(&format!("{} has its content", path.display()), SOON, || {
        let found = fs::read(path);
        let came = found.as_ref().is_ok_and(|found| found == content.as_bytes());
        let found = format!("{found:?}");
        if last.as_ref() != Some(&found) {
            eprintln!("{}: {found}", path.display());
            last = Some(found);
        }
        came
    });
}

#[test]
fn a_shared_folder_appears_and_what_either_writes_comes_to_the_other() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let both = [&at_alice, &at_bob];
    let told = Told(&both);
    // The kernel remembers that there is none.
    assert!(!at_bob.join("Shared").exists());
    let reports = shared(&at_alice, "bob", &["--write"]);
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");
    fs::write(here.join("second"), "from bob").unwrap();
    comes(&reports.join("second"), "from bob");
    fs::write(reports.join("second"), "alice again").unwrap();
    comes(&here.join("second"), "alice again");
    drop(told);
    at_alice.unmount();
    at_bob.unmount();
    alice.vault.check();
    bob.vault.check();
}
