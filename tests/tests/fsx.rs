//! fsx: random reads, writes, truncations and mappings of one file against a model of it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use keyfold_tests::{Seeded, Vault, count, program, shell, tool};

/// Every operation, of a byte and more (allocating nothing is an error everywhere), through read and
/// write as well as through mappings.
const WITH_MAPPINGS: &str = r"
flen = 1048576
[opsize]
min = 1
max = 131072
[weights]
close_open = 1
invalidate = 1
mapread = 5
mapwrite = 5
read = 5
write = 5
truncate = 3
fsync = 1
fdatasync = 1
posix_fallocate = 1
punch_hole = 3
sendfile = 1
posix_fadvise = 1
copy_file_range = 2
";

/// Small operations at odd places, no mapping, so that nothing but the daemon joins them.
const WITHOUT_MAPPINGS: &str = r"
flen = 262144
[opsize]
min = 1
max = 20000
[weights]
close_open = 1
mapread = 0
mapwrite = 0
read = 5
write = 8
truncate = 3
fsync = 1
fdatasync = 1
posix_fallocate = 1
punch_hole = 4
posix_fadvise = 1
copy_file_range = 4
";

fn run(file: &Path, config: &Path, seed: u64, operations: u64) {
    let output = program(tool("fsx"))
        .arg("-f")
        .arg(config)
        .args(["-N", &operations.to_string(), "-S", &seed.to_string(), "-P"])
        .arg(config.parent().unwrap())
        .arg(file)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "fsx -N {operations} -S {seed} with {}: {}\n{}",
        config.display(),
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
}

/// Exercises `seeds` files with each configuration, `operations` each, remounting between.
fn exercise(seeds: u64, operations: u64) {
    let vault = Vault::new();
    let mut random = Seeded::new();
    let configs = [
        vault.sandbox().file("mappings.toml", WITH_MAPPINGS),
        vault.sandbox().file("plain.toml", WITHOUT_MAPPINGS),
    ];
    let mut sums = String::new();
    for round in 0..seeds {
        let mount = vault.mount();
        let found = shell(mount.path(), "find . -type f | sort | xargs -r sha256sum");
        assert_eq!(
            found, sums,
            "a file changed by the remount before round {round}"
        );
        for (number, config) in configs.iter().enumerate() {
            let file = mount.join(format!("file-{number}-{}", round % 4));
            if file.exists() {
                fs::remove_file(&file).unwrap();
            }
            run(&file, config, random.below(1 << 32), operations);
        }
        sums = shell(mount.path(), "find . -type f | sort | xargs -r sha256sum");
        mount.unmount();
    }
    vault.check();
}

#[test]
fn fsx_finds_no_wrong_byte() {
    exercise(
        count("KEYFOLD_FSX_SEEDS", 3),
        count("KEYFOLD_FSX_OPERATIONS", 3000),
    );
}

#[test]
#[ignore = "slow: run by scripts/test --all"]
fn fsx_finds_no_wrong_byte_over_many_seeds() {
    exercise(
        count("KEYFOLD_FSX_SEEDS", 60),
        count("KEYFOLD_FSX_OPERATIONS", 20_000),
    );
}
