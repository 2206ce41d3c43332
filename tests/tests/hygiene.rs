//! Names, contents and secrets stay in memory and in ciphertext: they are looked for, as planted,
//! wherever else they could be (attack 20).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use keyfold_tests::{Mount, PASSWORD, Vault, keyfold_path, shell, state_home, until};

/// Long enough to be nowhere by chance.
const NAME: &str = "canary-name-Zq7vKx";
const CONTENT: &str = "canary-content-Wm3pTb";
const ATTRIBUTE: &str = "canary-attribute-Hr9sNd";
const TARGET: &str = "canary-target-Jy5cLf";

/// Files beneath `dir`, of whatever kind can be read.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

/// Forms that a secret could have been written in.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let hex = |upper: bool| {
        let digit = |b: u8| {
            if upper {
                format!("{b:02X}")
            } else {
                format!("{b:02x}")
            }
        };
        secret.bytes().map(digit).collect::<String>().into_bytes()
    };
    let wide = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![secret.as_bytes().to_vec(), hex(false), hex(true), wide]
}

fn contains(bytes: &[u8], pattern: &[u8]) -> bool {
    let first = pattern[0];
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|b| *b == first) {
        if rest[at..].starts_with(pattern) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

#[track_caller]
fn assert_nowhere(dir: &Path, secrets: &[&str]) {
    let mut bytes = 0;
    for file in files(dir) {
        let content = fs::read(&file).unwrap();
        bytes += content.len();
        for secret in secrets {
            for form in forms(secret) {
                assert!(
                    !contains(&content, &form),
                    "{secret} is in {}",
                    file.display()
                );
            }
        }
    }
    assert!(bytes > 0, "nothing was searched in {}", dir.display());
}

fn plant(mount: &Mount) {
    let dir = mount.join(format!("{NAME}-dir"));
    fs::create_dir(&dir).unwrap();
    let file = dir.join(NAME);
    fs::write(&file, CONTENT.repeat(5000)).unwrap();
    fs::write(dir.join(format!("{NAME}-small")), CONTENT).unwrap();
    symlink(TARGET, dir.join(format!("{NAME}-link"))).unwrap();
    shell(
        &dir,
        &format!("setfattr -n user.{ATTRIBUTE} -v {ATTRIBUTE} {NAME}"),
    );
    // Errors and damage are what gets logged.
    fs::read(dir.join(format!("{NAME}-missing"))).unwrap_err();
    fs::create_dir(&dir).unwrap_err();
    fs::rename(&file, dir.join(format!("{NAME}-renamed"))).unwrap();
    fs::File::open(dir.join(format!("{NAME}-small")))
        .unwrap()
        .sync_all()
        .unwrap();
    shell(mount.path(), "echo sync >.keyfold/control");
}

/// Mounts in the background, as people do, with everything logged and temporary files of its own.
fn mount_in_background(vault: &Vault, temporary: &Path) -> i32 {
    let mounted = Command::new(keyfold_path())
        .arg("mount")
        .args([vault.path(), vault.mount_point()])
        .arg("--password-file")
        .arg(vault.password_file())
        .env("XDG_STATE_HOME", state_home())
        .env("KEYFOLD_LOG", "trace")
        .env("TMPDIR", temporary)
        .env("XDG_RUNTIME_DIR", temporary)
        .env("RUST_BACKTRACE", "full")
        .current_dir("/")
        .status()
        .unwrap();
    assert!(mounted.success());
    let status = fs::read(vault.mount_point().join(".keyfold/status")).unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    status["pid"].as_i64().unwrap() as i32
}

/// What the process has in memory that it may write to, from its own mappings.
fn memory_contains(pid: i32, patterns: &[Vec<u8>]) -> Option<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut searched = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let from = u64::from_str_radix(from, 16).unwrap();
        let to = u64::from_str_radix(to, 16).unwrap();
        let mut bytes = vec![0; (to - from) as usize];
        memory.seek(SeekFrom::Start(from)).unwrap();
        if memory.read_exact(&mut bytes).is_err() {
            continue;
        }
        searched += bytes.len();
        if patterns.iter().any(|pattern| contains(&bytes, pattern)) {
            return Some(line.to_owned());
        }
    }
    assert!(
        searched > 1 << 20,
        "only {searched} bytes of memory were searched"
    );
    None
}

fn unmount(vault: &Vault) {
    keyfold_tests::keyfold(["unmount".as_ref(), vault.mount_point()]).expect_success("unmount");
}

#[test]
fn nothing_planted_is_found_outside_the_mount() {
    let vault = Vault::new();
    let temporary = vault.sandbox().dir("tmp");
    fs::write(temporary.join("not-empty"), "x").unwrap();
    mount_in_background(&vault, &temporary);
    let mount = Mount::found_at(vault.mount_point());
    plant(&mount);
    let secrets = [NAME, CONTENT, ATTRIBUTE, TARGET, PASSWORD];
    // While it is mounted, and what is left behind.
    for _ in 0..2 {
        assert_nowhere(vault.path(), &secrets);
        assert_nowhere(&state_home(), &secrets);
        assert_nowhere(&temporary, &secrets);
        if keyfold_tests::mounted(vault.mount_point()) {
            unmount(&vault);
        }
    }
    let left: Vec<_> = fs::read_dir(&temporary).unwrap().collect();
    assert_eq!(left.len(), 1, "temporary files are left: {left:?}");
    let log = files(&state_home().join("keyfold"))
        .into_iter()
        .find(|f| f.extension().is_some_and(|e| e == "log"));
    assert!(
        fs::metadata(log.unwrap()).unwrap().len() > 100,
        "nothing was logged"
    );
}

#[test]
fn damage_is_logged_without_a_name() {
    let vault = Vault::new();
    let temporary = vault.sandbox().dir("tmp");
    mount_in_background(&vault, &temporary);
    let mount = Mount::found_at(vault.mount_point());
    plant(&mount);
    let vault_dir = vault.path().display();
    unmount(&vault);
    mount_in_background(&vault, &temporary);
    let noise = format!(
        "for s in {vault_dir}/segments/*; do
             for at in 100 4196 8292 12388 409700; do
                 printf xxxx | dd of=$s bs=1 seek=$at conv=notrunc status=none
             done
         done"
    );
    shell(Path::new("/"), &noise);
    let renamed = vault
        .mount_point()
        .join(format!("{NAME}-dir/{NAME}-renamed"));
    fs::read(renamed).unwrap_err();
    let status = fs::read_to_string(vault.mount_point().join(".keyfold/status")).unwrap();
    assert!(status.contains("\"block\""), "{status}");
    for secret in [NAME, CONTENT, ATTRIBUTE, TARGET] {
        assert!(!status.contains(secret), "{status}");
    }
    unmount(&vault);
    assert_nowhere(&state_home(), &[NAME, CONTENT, ATTRIBUTE, TARGET, PASSWORD]);
}

#[test]
fn the_daemon_forgets_the_password_and_locks_the_key() {
    let vault = Vault::new();
    let temporary = vault.sandbox().dir("tmp");
    let pid = mount_in_background(&vault, &temporary);
    fs::write(vault.mount_point().join("file"), CONTENT).unwrap();
    let found = memory_contains(pid, &forms(PASSWORD));
    assert_eq!(found, None, "the password is in the daemon's memory");
    // The search itself works: what the daemon was just given is there, or was a moment ago.
    let path = vault.path().to_str().unwrap().as_bytes().to_vec();
    assert!(
        memory_contains(pid, &[path]).is_some(),
        "the search finds nothing"
    );
    for file in ["cmdline", "environ"] {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap();
        assert!(!contains(&bytes, PASSWORD.as_bytes()), "{file}");
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let locked = status
        .lines()
        .find_map(|line| line.strip_prefix("VmLck:"))
        .unwrap();
    let kilobytes: u64 = locked.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes >= 4, "nothing is locked: {status}");
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let flags = maps.lines().filter(|line| line.starts_with("VmFlags:"));
    let kept = flags
        .into_iter()
        .any(|line| line.contains(" lo") && line.contains(" dd"));
    assert!(kept, "no page is both locked and left out of core files");
    unmount(&vault);
}

#[test]
fn a_daemon_that_dies_leaves_no_core_file() {
    let vault = Vault::new();
    let temporary = vault.sandbox().dir("tmp");
    let pid = mount_in_background(&vault, &temporary);
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let words: Vec<_> = core.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{core}");
    let before: Vec<_> = files_named_core();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGABRT,
    )
    .unwrap();
    let gone = || !Path::new(&format!("/proc/{pid}/mem")).exists();
    until(
        "the daemon is gone",
        std::time::Duration::from_mins(1),
        gone,
    );
    assert_eq!(files_named_core(), before);
    vault.detach();
}

#[test]
fn status_tells_where_memory_may_be_swapped_to() {
    let vault = Vault::new();
    let mount = vault.mount();
    let status = fs::read(mount.join(".keyfold/status")).unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    let places = fs::read_to_string("/proc/swaps").unwrap().lines().count() - 1;
    let swap = status["swap"].as_str().unwrap();
    assert!(["none", "encrypted", "exposed"].contains(&swap), "{status}");
    assert!(places > 0 || swap == "none", "{status}");
    mount.unmount();
}

fn files_named_core() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for dir in ["/", "/tmp", "/var/crash", "/var/lib/systemd/coredump"] {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            if name.starts_with("core") && entry.path().is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}
