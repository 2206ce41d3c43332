//! A server, people with mounted vaults, and short words for what they do.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyfold_tests::{Mount, Outcome, Sandbox, Server, Vault, keyfold, program, until};
use serde_json::Value;

/// Longest time until a change is seen by others.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A server, and people with a vault each.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) sandbox: Sandbox,
}

/// Somebody with an account and a vault.
pub(crate) struct Person {
    pub(crate) name: &'static str,
    pub(crate) vault: Vault,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::logging("warn")
    }

    /// A server that logs as much as that.
    pub(crate) fn logging(level: &'static str) -> Self {
        let sandbox = Sandbox::new();
        let server = Server::logging(sandbox.path(), level);
        Self { server, sandbox }
    }

    /// One whose server mails, and wants addresses proved.
    pub(crate) fn with_mail() -> Self {
        let sandbox = Sandbox::new();
        Self {
            server: Server::with_mail(&sandbox),
            sandbox,
        }
    }

    pub(crate) fn person(&self, name: &'static str) -> Person {
        self.person_by(name, &[])
    }

    /// Somebody who registers with these options.
    pub(crate) fn person_by(&self, name: &'static str, how: &[&str]) -> Person {
        self.registered((name, Vault::new()), how)
    }

    /// Registers somebody whose vault is mounted, or not.
    pub(crate) fn person_with(&self, name: &'static str, vault: Vault) -> Person {
        self.registered((name, vault), &[])
    }

    fn registered(&self, (name, vault): (&'static str, Vault), how: &[&str]) -> Person {
        let registered = self.register((name, &vault), how);
        registered.expect_success("keyfold account register");
        Person { name, vault }
    }

    /// What a vault is told that registers with these options.
    pub(crate) fn register(&self, (name, vault): (&str, &Vault), how: &[&str]) -> Outcome {
        let password = self.sandbox.file("account-password", "tall giraffe\n");
        let (url, email) = (self.server.url(), format!("{name}@example.org"));
        let kit = kit_of(vault);
        let who = [
            "account",
            "register",
            name,
            text(vault.path()),
            "--email",
            &email,
        ];
        let server = ["--server", &url];
        let server = if how.contains(&"--server") {
            &[]
        } else {
            &server[..]
        };
        let kept = ["--kit-file", text(&kit)];
        let by = ["--new-account-password-file", text(&password)];
        on_vault(vault, &[&who[..], server, &kept, &by, how].concat())
    }

    /// What a vault is told that logs in to an account, at this address with this kit.
    pub(crate) fn log_in(
        &self,
        (person, vault): (&Person, &Vault),
        url: &str,
        kit: &Path,
    ) -> Outcome {
        let password = self.sandbox.file("account-password", "tall giraffe\n");
        let who = ["account", "login", person.name, text(vault.path())];
        let how = ["--server", url, "--kit", text(kit)];
        let by = ["--account-password-file", text(&password)];
        on_vault(vault, &[&who[..], &how, &by].concat())
    }

    /// Alice and Bob, who verified one another.
    pub(crate) fn two(&self) -> (Person, Person) {
        let (alice, bob) = (self.person("alice"), self.person("bob"));
        alice.trusts(&bob);
        bob.trusts(&alice);
        (alice, bob)
    }
}

impl Person {
    pub(crate) fn fingerprint(&self) -> String {
        let path = text(self.vault.path());
        let shown = on_vault(&self.vault, &["account", "show", path, "--json"]);
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        shown["fingerprint"].as_str().unwrap().to_owned()
    }

    /// A vault of another device of the account, logged in by the kit.
    pub(crate) fn another_device(&self, world: &World) -> Vault {
        let vault = Vault::new();
        let logged_in = world.log_in((self, &vault), &world.server.url(), &self.kit());
        logged_in.expect_success("keyfold account login");
        vault
    }

    /// Where his kit is.
    pub(crate) fn kit(&self) -> PathBuf {
        kit_of(&self.vault)
    }

    pub(crate) fn trusts(&self, other: &Self) {
        let (path, fingerprint) = (text(self.vault.path()), other.fingerprint());
        let trust = ["trust", other.name, path, "--fingerprint", &fingerprint];
        on_vault(&self.vault, &trust).expect_success("keyfold trust");
    }
}

/// Where the kit is of the account that was registered with a vault.
fn kit_of(vault: &Vault) -> PathBuf {
    vault.sandbox().path().join("kit")
}

/// Unmounts everybody's vault, and then checks them.
pub(crate) fn end<const N: usize>(everybody: [(Mount, &Person); N]) {
    let people = everybody.map(|(mount, person)| {
        mount.unmount();
        person
    });
    for person in people {
        person.vault.check();
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) fn on_vault(vault: &Vault, arguments: &[&str]) -> Outcome {
    let password = ["--password-file", text(vault.password_file())];
    keyfold(arguments.iter().chain(&password))
}

pub(crate) fn run(arguments: &[&str]) -> String {
    let done = keyfold(arguments);
    done.expect_success(arguments.join(" "));
    done.stdout
}

/// Runs a program of the system. Returns what it printed.
pub(crate) fn run_in(words: &[&str]) -> String {
    let done = program(words[0]).args(&words[1..]).output().unwrap();
    assert!(done.status.success(), "{words:?}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

/// A directory of a mount with a file in it, given to somebody.
pub(crate) fn shared(mount: &Mount, user: &str, role: &[&str]) -> PathBuf {
    let reports = mount.join("Reports");
    fs::create_dir(&reports).unwrap();
    fs::write(reports.join("first"), "from alice").unwrap();
    run(&[&["share", text(&reports), user], role].concat());
    reports
}

/// What [`shared`] gave Bob, once it has come to him: the directory of Alice's, and his.
#[track_caller]
pub(crate) fn given(at_alice: &Mount, at_bob: &Mount, role: &[&str]) -> (PathBuf, PathBuf) {
    let reports = shared(at_alice, "bob", role);
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");
    (reports, here)
}

pub(crate) fn status(mount: &Mount) -> Value {
    let status = fs::read_to_string(mount.join(".keyfold/status")).unwrap();
    serde_json::from_str(&status).unwrap()
}

/// What is known of the one share of a mount.
pub(crate) fn share_status(mount: &Mount) -> Value {
    status(mount)["sharing"]["shares"][0].clone()
}

/// What is told of who takes part in a share.
pub(crate) fn members(share: &str, mount: &Mount) -> Value {
    let shown = run(&["members", share, text(mount.path()), "--json"]);
    serde_json::from_str(&shown).unwrap()
}

/// Who takes part in a share.
pub(crate) fn names(share: &str, mount: &Mount) -> Vec<String> {
    let shown = members(share, mount);
    let all = shown["members"].as_array().unwrap().iter();
    all.map(|one| one["user"].as_str().unwrap().to_owned())
        .collect()
}

#[track_caller]
pub(crate) fn refused(outcome: &Outcome, code: i32, said: &str) {
    assert_eq!(outcome.code, Some(code), "{outcome}");
    assert!(outcome.stderr.contains(said), "{outcome}");
}

/// Writes a line to the control file. Returns the errno that this fails with, and the reply.
pub(crate) fn command(mount: &Mount, line: &str) -> (Option<i32>, String) {
    let mut control = fs::File::options()
        .read(true)
        .write(true)
        .open(mount.join(".keyfold/control"))
        .unwrap();
    let written = control.write_all(line.as_bytes());
    let mut reply = String::new();
    control.read_to_string(&mut reply).unwrap();
    (written.err().and_then(|e| e.raw_os_error()), reply)
}

/// Bytes of all blobs that a server has.
pub(crate) fn stored(server: &Server) -> u64 {
    let (mut bytes, mut left) = (0, vec![server.folder().join("blobs")]);
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            // What is just deleted is no more.
            let Ok(meta) = entry.as_ref().unwrap().metadata() else {
                continue;
            };
            if meta.is_dir() {
                left.push(entry.unwrap().path());
            } else {
                bytes += meta.len();
            }
        }
    }
    bytes
}

/// Kind, mode, and bytes or target of all that is below a directory.
pub(crate) fn tree(root: &Path) -> std::io::Result<BTreeMap<PathBuf, (u32, Vec<u8>)>> {
    let (mut all, mut left) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let kind = path.symlink_metadata()?.file_type();
            // Of a mode, only what its owner may do travels.
            let mode = path.symlink_metadata()?.permissions().mode() & !0o77;
            let content = if kind.is_dir() {
                left.push(path.clone());
                Vec::new()
            } else if kind.is_symlink() {
                fs::read_link(&path)?.into_os_string().into_encoded_bytes()
            } else {
                fs::read(&path)?
            };
            let name = path.strip_prefix(root).unwrap().to_owned();
            all.insert(name, (mode, content));
        }
    }
    Ok(all)
}

#[track_caller]
pub(crate) fn same(when: &str, one: &Path, other: &Path) {
    let names = |dir| tree(dir).map(|tree| tree.into_keys().collect::<Vec<_>>());
    let mut waited = 0;
    until(&format!("both are the same {when}"), SOON, || {
        waited += 1;
        if waited == 200 {
            eprintln!("{:?}\n{:?}", names(one), names(other));
        }
        matches!((tree(one), tree(other)), (Ok(one), Ok(other)) if one == other)
    });
}

#[track_caller]
pub(crate) fn comes(path: &Path, content: &str) {
    let mut last = None;
    until(&format!("{} has its content", path.display()), SOON, || {
        let found = fs::read(path);
        let came = found
            .as_ref()
            .is_ok_and(|found| found == content.as_bytes());
        let found = format!("{found:?}");
        if last.as_ref() != Some(&found) {
            eprintln!("{}: {found}", path.display());
            last = Some(found);
        }
        came
    });
}
