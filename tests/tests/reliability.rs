//! The documents that name tests as proof name only tests there are.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Documents in which a promise names what shows it.
const DOCUMENTS: [&str; 3] = ["reliability.md", "resources.md", "threat-model.md"];
/// Macros that make tests of the names they are given.
const MAKERS: [&str; 2] = ["survives! {", "every_call! {"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

/// The names of functions below a `#[test]`, and those that macros make tests of.
fn tests_in(source: &str, names: &mut BTreeSet<String>) {
    for after in source.split("#[test]").skip(1) {
        let name = after.split_once("fn ").and_then(|(_, f)| words(f).next());
        names.extend(name.map(str::to_owned));
    }
    for maker in MAKERS {
        for after in source.split(maker).skip(1) {
            let made = after.split('}').next().unwrap();
            names.extend(words(made).map(str::to_owned));
        }
    }
}

fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&repository(), &mut files);
    let mut names = BTreeSet::new();
    for file in files {
        tests_in(&fs::read_to_string(file).unwrap(), &mut names);
    }
    names
}

/// What stands between backticks and reads like a promise.
fn named(document: &str) -> BTreeSet<&str> {
    document
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.matches('_').count() >= 3 && words(word).count() == 1)
        .collect()
}

#[test]
fn every_test_that_a_document_names_exists() {
    let tests = tests();
    for name in DOCUMENTS {
        let document = fs::read_to_string(repository().join("docs").join(name)).unwrap();
        let named = named(&document);
        assert!(!named.is_empty(), "{name} names no test");
        let missing: Vec<_> = named.iter().filter(|n| !tests.contains(**n)).collect();
        assert!(missing.is_empty(), "{name} names {missing:?}");
    }
}

#[test]
fn a_test_that_does_not_exist_is_noticed() {
    let tests = tests();
    let made_up = ["a_promise_that_nobody", "keeps_and_no_test_shows"].join("_");
    let document = format!("| `{made_up}` | `every_test_that_a_document_names_exists` |");
    let named = named(&document);
    assert_eq!(named.len(), 2);
    assert!(!tests.contains(&made_up));
    assert!(tests.contains("every_test_that_a_document_names_exists"));
    assert!(
        tests.contains("creating_survives_a_power_cut_anywhere"),
        "tests made by a macro"
    );
}
