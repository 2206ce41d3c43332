//! The layers of the workspace, as docs/architecture.md draws them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// What each crate of the workspace may name of the others. A new crate needs a line here.
const MAY_USE: [(&str, &[&str]); 7] = [
    ("keyfold-crypto", &[]),
    ("keyfold-fs", &["keyfold-crypto"]),
    ("keyfold-protocol", &["keyfold-crypto"]),
    (
        "keyfold",
        &["keyfold-fs", "keyfold-crypto", "keyfold-protocol"],
    ),
    ("keyfold-server", &["keyfold-protocol", "keyfold-crypto"]),
    ("keyfold-tests", &[]),
    ("keyfold-recorder", &[]),
];

/// Crates that only these crates of the workspace may name. The recorder is no part of a program:
/// it stands beneath the vault in tests.
const OWNED_BY: [(&str, &[&str]); 3] = [
    ("fuser", &["keyfold-recorder"]),
    ("axum", &["keyfold-server"]),
    ("lettre", &["keyfold-server"]),
];

/// What a synchronous crate without network must not even have beneath it.
const NETWORK: [&str; 8] = [
    "tokio",
    "async-std",
    "smol",
    "reqwest",
    "hyper",
    "rustls",
    "mio",
    "socket2",
];

/// What would stand between the program and the kernel's FUSE protocol.
const FUSE_CRATES: [&str; 5] = [
    "fuser",
    "fuse3",
    "polyfuse",
    "easy_fuser",
    "fuse-backend-rs",
];

/// Source files that may allow `unsafe_code`, each for the reason it gives.
const MAY_BE_UNSAFE: [&str; 12] = [
    "daemon/src/fuse/attach.rs",
    "daemon/src/fuse/device.rs",
    "daemon/src/fuse/ring/entry.rs",
    "daemon/src/fuse/tests/",
    "fs/crypto/src/locked.rs",
    "fs/crypto/src/sha256x16.rs",
    "fs/crypto/src/xts/masks.rs",
    "fs/src/data/readahead.rs",
    "fs/src/data/segments.rs",
    "fs/src/volume/memory.rs",
    "fs/tests/model_volume/host/",
    "tests/src/mapping.rs",
];

/// What is built here: crates of other systems alone need not be at hand.
fn metadata() -> Metadata {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut command = MetadataCommand::new();
    command
        .manifest_path(root().join("Cargo.toml"))
        .other_options(["--offline", "--filter-platform", &platform].map(str::to_owned));
    command.exec().unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// The crates of the workspace with what each names outside its tests.
fn direct() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let packages = metadata.workspace_packages();
    let names = packages.into_iter().map(|package| {
        let used = package.dependencies.iter();
        let used = used.filter(|dependency| dependency.kind != DependencyKind::Development);
        (
            package.name.to_string(),
            used.map(|dependency| dependency.name.clone()).collect(),
        )
    });
    names.collect()
}

/// All that is linked into a crate of the workspace.
fn beneath(metadata: &Metadata, name: &str) -> BTreeSet<String> {
    let nodes: BTreeMap<&PackageId, _> = metadata
        .resolve
        .as_ref()
        .unwrap()
        .nodes
        .iter()
        .map(|node| (&node.id, node))
        .collect();
    let package = |id: &PackageId| metadata.packages.iter().find(|p| p.id == *id).unwrap();
    let start = metadata
        .workspace_packages()
        .into_iter()
        .find(|p| p.name.as_str() == name);
    let mut queue: Vec<&PackageId> = start.into_iter().map(|package| &package.id).collect();
    let mut found = BTreeSet::new();
    while let Some(id) = queue.pop() {
        for used in &nodes[id].deps {
            let linked = used
                .dep_kinds
                .iter()
                .any(|kind| kind.kind == DependencyKind::Normal);
            if linked && found.insert(package(&used.pkg).name.to_string()) {
                queue.push(&used.pkg);
            }
        }
    }
    found
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Files below the workspace's `dirs` that contain one of `words`, without those that begin with
/// one of `allowed`.
fn naming(words: &[&str], dirs: &[&str], allowed: &[&str]) -> Vec<String> {
    let root = root();
    let files = dirs
        .iter()
        .map(|dir| root.join(dir))
        .filter(|dir| dir.is_dir());
    let files = files.flat_map(|dir| sources(&dir)).filter_map(|path| {
        let name = path
            .strip_prefix(&root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let named = text
            .lines()
            .map(str::trim_start)
            .filter(|line| !line.starts_with("//"));
        let named = named
            .into_iter()
            .any(|line| words.iter().any(|word| line.contains(word)));
        (named && !allowed.iter().any(|prefix| name.starts_with(prefix))).then_some(name)
    });
    files.collect()
}

#[test]
fn crates_use_only_the_layers_below_them() {
    let direct = direct();
    for (name, used) in &direct {
        let rule = MAY_USE.iter().find(|(crate_name, _)| crate_name == name);
        let (_, allowed) = rule.unwrap_or_else(|| panic!("no rule for the new crate {name}"));
        for other in used.iter().filter(|other| direct.contains_key(*other)) {
            assert!(
                allowed.contains(&other.as_str()),
                "{name} must not use {other}"
            );
        }
    }
    assert!(
        direct["keyfold"].contains("keyfold-fs"),
        "the test sees no dependencies"
    );
}

#[test]
fn front_ends_own_their_foreign_crates() {
    for (name, used) in direct() {
        for (foreign, owners) in OWNED_BY {
            assert!(
                owners.contains(&name.as_str()) || !used.contains(foreign),
                "{name} must not name {foreign}"
            );
        }
    }
}

#[test]
fn crypto_fs_and_protocol_have_no_network_and_no_runtime_beneath() {
    let metadata = metadata();
    for name in ["keyfold-crypto", "keyfold-fs", "keyfold-protocol"] {
        let beneath = beneath(&metadata, name);
        assert!(
            beneath.contains("aes"),
            "the test sees nothing beneath {name}"
        );
        for foreign in NETWORK {
            assert!(
                !beneath.contains(foreign),
                "{name} has {foreign} beneath it"
            );
        }
    }
}

#[test]
fn the_server_has_nothing_of_the_volume_engine_beneath() {
    let beneath = beneath(&metadata(), "keyfold-server");
    for foreign in ["keyfold-fs", "keyfold"] {
        assert!(
            !beneath.contains(foreign),
            "keyfold-server has {foreign} beneath it"
        );
    }
}

/// What holds names, content or metadata in the clear, or opens what is sealed.
const PLAINTEXT: &[&str] = &[
    "keyfold_protocol::operation",
    "keyfold_protocol::tree",
    "keyfold_protocol::pack",
    "keyfold_protocol::snapshot",
    "ContentBody",
    "FileContent",
    "SnapshotBody",
    "AccountSecret",
    "EpochKey",
    "FileKey",
    "IdentityKey",
    "KemKey",
    "MasterKey",
    "PackKey",
    "RecoveryKey",
    "SealKey",
];

#[test]
fn the_server_names_no_type_that_holds_plaintext_or_opens_what_is_sealed() {
    for word in PLAINTEXT {
        assert_eq!(naming(&[word], &["sharing-server/src"], &[]), [""; 0]);
        let daemon = naming(&[word], &["daemon/src"], &[]);
        assert!(!daemon.is_empty(), "nothing is called {word}");
    }
}

#[test]
fn the_recorder_is_in_no_program() {
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        assert!(
            !beneath(&metadata, &package.name).contains("keyfold-recorder"),
            "{} has the recorder beneath it",
            package.name
        );
    }
}

#[test]
fn crypto_and_protocol_do_no_input_or_output() {
    let words = [
        "std::fs",
        "std::net",
        "std::io",
        "std::process",
        "std::env",
        "println!",
    ];
    assert_eq!(
        naming(
            &words,
            &["fs/crypto/src", "sharing-server/protocol/src"],
            &[]
        ),
        [""; 0]
    );
}

#[test]
fn the_engine_never_awaits_or_opens_a_socket() {
    let words = [".await", "async fn", "std::net", "os::unix::net"];
    assert_eq!(naming(&words, &["fs/src"], &[]), [""; 0]);
}

#[test]
fn the_program_speaks_to_the_kernel_itself() {
    let metadata = metadata();
    let beneath = beneath(&metadata, "keyfold");
    assert!(
        beneath.contains("keyfold-fs"),
        "the test sees nothing beneath keyfold"
    );
    for foreign in FUSE_CRATES {
        assert!(
            !beneath.contains(foreign),
            "keyfold has {foreign} beneath it"
        );
    }
}

#[test]
fn sql_stays_with_the_metadata_store() {
    let words = ["rusqlite"];
    let allowed = [
        "fs/src/meta",
        "fs/tests/",
        "sharing-server/src/db",
        "sharing-server/tests/",
    ];
    assert_eq!(
        naming(&words, &["fs", "daemon", "sharing-server"], &allowed),
        [""; 0]
    );
}

#[test]
fn every_label_is_in_the_key_schedule() {
    let words = ["\"keyfold/1/"];
    let dirs = ["fs", "daemon", "sharing-server"];
    let schedule = "fs/crypto/src/schedule.rs";
    assert_eq!(naming(&words, &dirs, &[]), [schedule]);
}

#[test]
fn unsafe_code_is_allowed_only_in_listed_files() {
    let mut allowed = MAY_BE_UNSAFE.to_vec();
    // Names the lint, as this file does.
    allowed.push("tests/tests/architecture.rs");
    let dirs = ["fs", "daemon", "sharing-server", "tests"];
    assert_eq!(naming(&["unsafe_code"], &dirs, &allowed), [""; 0]);
    for listed in MAY_BE_UNSAFE {
        assert!(
            root().join(listed).exists(),
            "{listed} is listed but does not exist"
        );
    }
}

#[test]
fn folders_hold_no_grab_bag_modules_and_no_mod_rs() {
    for path in sources(&root()) {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let grab_bag = [
            "mod", "util", "utils", "helper", "helpers", "common", "manager",
        ];
        assert!(
            !grab_bag.contains(&stem),
            "{} needs a name of its own",
            path.display()
        );
    }
}
