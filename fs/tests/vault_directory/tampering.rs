use std::fs;
use std::path::Path;

use keyfold_fs::vault::{Access, Damage, LockedVault, Secret, VaultError};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixture::{Fixture, PASSWORD, create_at};

/// The superblock with one value changed, once for each value in it and each way to change it.
fn edits(superblock: &Value) -> Vec<(String, Value)> {
    let mut pointers = Vec::new();
    collect(superblock, String::new(), &mut pointers);
    let mut edits = Vec::new();
    for pointer in pointers {
        for value in alternatives(superblock.pointer(&pointer).unwrap()) {
            let mut edited = superblock.clone();
            let name = format!("{pointer} = {value}");
            *edited.pointer_mut(&pointer).unwrap() = value;
            edits.push((name, edited));
        }
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let mut edited = superblock.clone();
        match edited.pointer_mut(parent).unwrap() {
            Value::Object(fields) => drop(fields.remove(key)),
            Value::Array(items) => drop(items.remove(key.parse().unwrap())),
            _ => unreachable!("a pointer's parent holds values"),
        }
        edits.push((format!("{pointer} removed"), edited));
    }
    for (parent, key) in [("", "x"), ("/slots/0", "x"), ("/slots/1", "rounds")] {
        for value in [json!(null), json!(1), json!(600_000)] {
            let mut edited = superblock.clone();
            edited.pointer_mut(parent).unwrap()[key] = value.clone();
            edits.push((format!("{parent}/{key} added as {value}"), edited));
        }
    }
    let mut swapped = superblock.clone();
    swapped["slots"].as_array_mut().unwrap().reverse();
    edits.push(("slots swapped".into(), swapped));
    let mut doubled = superblock.clone();
    let first = doubled["slots"][0].clone();
    doubled["slots"].as_array_mut().unwrap().push(first);
    edits.push(("slot doubled".into(), doubled));
    for field in ["salt", "params_mac", "sealed_master", "label", "created"] {
        let mut crossed = superblock.clone();
        crossed["slots"][1][field] = crossed["slots"][0][field].clone();
        if crossed != *superblock {
            edits.push((format!("{field} of slot 0 in slot 1"), crossed));
        }
    }
    edits
}

fn collect(value: &Value, at: String, pointers: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields
                .iter()
                .for_each(|(key, value)| collect(value, format!("{at}/{key}"), pointers));
        }
        Value::Array(items) => {
            (0..)
                .zip(items)
                .for_each(|(n, item)| collect(item, format!("{at}/{n}"), pointers));
        }
        _ => {}
    }
    if !at.is_empty() {
        pointers.push(at);
    }
}

fn alternatives(value: &Value) -> Vec<Value> {
    let mut others = vec![
        json!(null),
        json!({}),
        json!([]),
        json!(""),
        json!(0),
        json!(-1),
    ];
    match value {
        Value::Number(number) => {
            let number = number.as_u64().unwrap();
            others.extend([
                json!(number + 1),
                json!(number * 2),
                json!(u64::MAX),
                json!(1.5),
            ]);
            others.push(json!(number.to_string()));
        }
        Value::String(text) => {
            others.extend([json!(format!("{text}0")), json!(text.to_uppercase())]);
            others.push(json!(&text[1..]));
            let last = if text.ends_with('0') { '1' } else { '0' };
            others.push(json!(format!("{}{last}", &text[..text.len() - 1])));
            let first = if text.starts_with('0') { '1' } else { '0' };
            others.push(json!(format!("{first}{}", &text[1..])));
        }
        _ => {}
    }
    others.retain(|other| other != value);
    others
}

#[test]
fn every_edited_field_is_noticed_and_the_other_copy_used() {
    let vault = Fixture::new();
    let text = fs::read(vault.primary()).unwrap();
    let edits = edits(&serde_json::from_slice(&text).unwrap());
    assert!(edits.len() > 200, "{}", edits.len());
    for (name, edited) in &edits {
        let edited = serde_json::to_vec_pretty(edited).unwrap();
        for (copy, other) in [
            (vault.primary(), vault.backup()),
            (vault.backup(), vault.primary()),
        ] {
            fs::write(copy, &edited).unwrap();
            fs::write(other, &text).unwrap();
            let open = vault.recover().unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(!open.health().is_sound(), "{name} went unnoticed");
        }
        vault.write_both(&edited);
        let error = vault.recover().map(drop).expect_err(name);
        assert!(
            matches!(
                error,
                VaultError::SuperblockDamaged { .. }
                    | VaultError::WrongSecret { .. }
                    | VaultError::NewerFormat { .. }
            ),
            "{name}: {error}"
        );
    }
}

#[test]
fn a_password_does_not_open_an_edited_slot() {
    let vault = Fixture::new();
    let superblock: Value = serde_json::from_slice(&fs::read(vault.primary()).unwrap()).unwrap();
    let flip = |text: &Value| {
        let text = text.as_str().unwrap();
        json!(format!(
            "{}{}",
            if text.starts_with('0') { '1' } else { '0' },
            &text[1..]
        ))
    };
    let edits = [
        ("salt", flip(&superblock["slots"][0]["salt"])),
        ("rounds", json!(600_001)),
        ("params_mac", flip(&superblock["slots"][0]["params_mac"])),
        (
            "sealed_master",
            flip(&superblock["slots"][0]["sealed_master"]),
        ),
        ("id", json!(7)),
        ("label", json!("passwort")),
        ("created", json!("2001-01-01T00:00:00Z")),
    ];
    for (field, value) in edits {
        let mut edited = superblock.clone();
        edited["slots"][0][field] = value;
        let edited = serde_json::to_vec(&edited).unwrap();
        vault.write_both(&edited);
        let error = vault.open(PASSWORD).map(drop).expect_err(field);
        let indistinguishable = matches!(field, "salt" | "rounds" | "params_mac" | "id");
        match error {
            VaultError::WrongSecret { .. } => assert!(indistinguishable, "{field}"),
            VaultError::SuperblockDamaged { primary, .. } => {
                assert!(!indistinguishable, "{field}");
                assert_eq!(primary, Damage::NotAuthentic, "{field}");
            }
            other => panic!("{field}: {other}"),
        }
        fs::write(vault.backup(), serde_json::to_vec(&superblock).unwrap()).unwrap();
        let open = vault
            .open(PASSWORD)
            .unwrap_or_else(|e| panic!("{field}: {e}"));
        assert_eq!(open.health().primary, Some(Damage::NotAuthentic), "{field}");
    }
}

#[test]
fn a_copy_torn_at_any_length_is_survived_and_both_torn_refused() {
    let vault = Fixture::new();
    let whole = fs::read(vault.primary()).unwrap();
    let end = whole.len() - 1;
    assert_eq!(
        &whole[end - 1..],
        b"}\n",
        "shorter by the newline alone is not torn"
    );
    for length in 0..end {
        for (torn, other) in [
            (vault.primary(), vault.backup()),
            (vault.backup(), vault.primary()),
        ] {
            fs::write(torn, &whole[..length]).unwrap();
            fs::write(other, &whole).unwrap();
            let open = vault.recover().unwrap_or_else(|e| panic!("{length}: {e}"));
            assert!(!open.health().is_sound(), "{length}");
        }
        vault.write_both(&whole[..length]);
        let error = vault.locked().map(drop).unwrap_err();
        assert!(
            matches!(error, VaultError::SuperblockDamaged { .. }),
            "{length}: {error}"
        );
    }
}

#[test]
fn a_lost_copy_is_survived() {
    for primary in [true, false] {
        let vault = Fixture::new();
        fs::remove_file(if primary {
            vault.primary()
        } else {
            vault.backup()
        })
        .unwrap();
        let open = vault.open(PASSWORD).unwrap();
        let health = open.health();
        let lost = if primary {
            health.primary
        } else {
            health.backup
        };
        assert_eq!(lost, Some(Damage::Absent));
    }
}

#[test]
fn odd_files_in_place_of_a_copy_neither_hang_nor_harm() {
    let vault = Fixture::new();
    let path = vault.primary();
    let replace = |make: &dyn Fn(&Path), expected: Damage| {
        fs::remove_file(&path).unwrap();
        make(&path);
        let open = vault.recover().unwrap();
        assert_eq!(open.health().primary, Some(expected));
        drop(open);
        fs::remove_file(&path).unwrap();
        fs::copy(vault.backup(), &path).unwrap();
    };
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
    replace(
        &|path| nix::unistd::mkfifo(path, mode).unwrap(),
        Damage::NotAFile,
    );
    replace(
        &|path| std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
        Damage::NotAFile,
    );
    replace(
        &|path| fs::File::create(path).unwrap().set_len(1 << 40).unwrap(),
        Damage::TooLarge,
    );
    let deep = "[".repeat(100_000);
    replace(
        &|path| fs::write(path, &deep).unwrap(),
        Damage::Malformed { line: 1, column: 1 },
    );
}

#[test]
fn a_copy_of_another_vault_is_not_used() {
    let (vault, other) = (Fixture::new(), Fixture::new());
    fs::copy(other.primary(), vault.primary()).unwrap();
    let open = vault.recover().unwrap();
    assert_eq!(open.health().primary, Some(Damage::NotAuthentic));
    drop(open);
    // With the same password on both vaults either could be meant.
    let error = vault.open(PASSWORD).map(drop).unwrap_err();
    assert!(
        matches!(error, VaultError::SuperblockDamaged { .. }),
        "{error}"
    );
}

#[test]
fn a_slot_of_another_vault_with_the_same_password_does_not_open() {
    let (vault, other) = (Fixture::new(), Fixture::new());
    let read = |path| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
    let mut superblock = read(vault.primary());
    superblock["slots"][0] = read(other.primary())["slots"][0].clone();
    vault.write_both(&serde_json::to_vec(&superblock).unwrap());
    let error = vault.open(PASSWORD).map(drop).unwrap_err();
    assert!(matches!(error, VaultError::WrongSecret { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The oracle: no panic, no hang, and no vault opened from bytes nobody wrote.
    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let around = tempfile::tempdir().unwrap();
        fs::create_dir(around.path().join("segments")).unwrap();
        fs::write(around.path().join("meta.db"), b"").unwrap();
        fs::write(around.path().join("superblock.json"), &bytes).unwrap();
        fs::write(around.path().join("superblock.bak"), &bytes).unwrap();
        let error = LockedVault::open(around.path(), Access::ReadWrite).map(drop).unwrap_err();
        let damaged = matches!(error, VaultError::SuperblockDamaged { .. });
        prop_assert!(damaged, "{}", error);
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let around = tempfile::tempdir().unwrap();
    let path = around.path().join("vault");
    let (_, recovery) = create_at(&path).unwrap();
    let words = recovery.to_words();
    let whole = fs::read(path.join("superblock.json")).unwrap();
    for at in 0..whole.len() {
        let mut edited = whole.clone();
        edited[at] ^= 1 << (at % 7);
        for copy in ["superblock.json", "superblock.bak"] {
            fs::write(path.join(copy), &edited).unwrap();
        }
        let key = keyfold_crypto::RecoveryKey::parse(&words).unwrap();
        let open = LockedVault::open(&path, Access::ReadWrite)
            .and_then(|vault| vault.unlock(&Secret::Recovery(key)));
        let space = whole[at].is_ascii_whitespace() && edited[at].is_ascii_whitespace();
        assert_eq!(
            open.is_ok(),
            space,
            "byte {at}: {:?}",
            char::from(whole[at])
        );
    }
}
