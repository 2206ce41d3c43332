//! Every file and directory of a vault removed, emptied, cut, exchanged, doubled or brought back
//! from an earlier copy; one at a time and two together.

use std::fs;
use std::path::Path;

use crate::seed::Seeded;
use crate::site::{How, READING, Site, WRITING, copy_tree};
use crate::tree::{self, Tree, assert_committed_or_eio};

/// Something done to the vault directory. Names are those of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Act {
    Remove(String),
    Empty(String),
    Halve(String),
    Exchange(String, String),
    /// The first takes the second's place, and stays.
    Double(String, String),
    /// Another file beside it, of a name that nothing has.
    Beside(String, String),
    BringBack(String),
}

impl Act {
    /// Does it; nothing, where an act before it left nothing to do it to.
    fn carry_out(&self, vault: &Path, old: &Path) {
        let at = |name: &str| vault.join(name);
        match self {
            Self::Remove(name) if at(name).is_dir() => drop(fs::remove_dir_all(at(name))),
            Self::Remove(name) => drop(fs::remove_file(at(name))),
            Self::Empty(name) if at(name).is_dir() => {
                let _ = fs::remove_dir_all(at(name));
                fs::create_dir(at(name)).unwrap();
            }
            Self::Empty(name) => set_length(&at(name), |_| 0),
            Self::Halve(name) => set_length(&at(name), |length| length / 2),
            Self::Exchange(a, b) => {
                let aside = vault.join("aside");
                let _ = fs::rename(at(a), &aside);
                let _ = fs::rename(at(b), at(a));
                let _ = fs::rename(&aside, at(b));
            }
            Self::Double(from, to) | Self::Beside(from, to) => {
                if at(from).is_file() && at(to).parent().unwrap().is_dir() {
                    let _ = fs::remove_dir_all(at(to));
                    fs::copy(at(from), at(to)).unwrap();
                }
            }
            Self::BringBack(name) => bring_back(&old.join(name), &at(name)),
        }
    }
}

fn set_length(path: &Path, length: impl FnOnce(u64) -> u64) {
    if let Ok(file) = fs::OpenOptions::new().write(true).open(path) {
        let present = file.metadata().unwrap().len();
        file.set_len(length(present)).unwrap();
    }
}

fn bring_back(old: &Path, path: &Path) {
    if path.is_dir() {
        fs::remove_dir_all(path).unwrap();
    }
    if old.is_dir() {
        let _ = fs::remove_file(path);
        copy_tree(old, path);
    } else if old.is_file() && path.parent().unwrap().is_dir() {
        fs::copy(old, path).unwrap();
    } else if !old.exists() {
        let _ = fs::remove_file(path);
    }
}

fn names(vault: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(vault).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            for inner in fs::read_dir(entry.path()).unwrap() {
                let inner = inner.unwrap().file_name().into_string().unwrap();
                names.push(format!("{name}/{inner}"));
            }
        }
        names.push(name);
    }
    names.sort();
    names
}

/// Everything that can be done to one or two of the vault's files.
fn acts(vault: &Path) -> Vec<Act> {
    let names = names(vault);
    let mut acts = Vec::new();
    for name in &names {
        acts.push(Act::Remove(name.clone()));
        acts.push(Act::Empty(name.clone()));
        acts.push(Act::BringBack(name.clone()));
        if vault.join(name).is_dir() {
            continue;
        }
        acts.push(Act::Halve(name.clone()));
        acts.push(Act::Beside(name.clone(), "meta.db-wal".to_owned()));
        acts.push(Act::Beside(name.clone(), "meta.db-journal".to_owned()));
        acts.push(Act::Beside(name.clone(), "superblock.json.new".to_owned()));
        acts.push(Act::Beside(name.clone(), "segments/000099".to_owned()));
        for other in &names {
            if other == name || vault.join(other).is_dir() {
                continue;
            }
            acts.push(Act::Double(name.clone(), other.clone()));
            if name < other {
                acts.push(Act::Exchange(name.clone(), other.clone()));
            }
        }
    }
    acts
}

/// A vault, an earlier copy of it, and what it holds now.
struct Ground {
    site: Site,
    committed: Tree,
}

impl Ground {
    fn new() -> Self {
        let site = Site::with_files();
        site.keep("old");
        site.change_files();
        site.keep("whole");
        site.keep_pins("pins-whole");
        let committed = site.tree();
        Self { site, committed }
    }

    /// Carries the acts out, opens the vault and compares what is read.
    fn attempt(&self, acts: &[&Act], how: How) -> &'static str {
        let site = &self.site;
        site.bring_back("whole");
        site.bring_back_pins("pins-whole");
        for act in acts {
            act.carry_out(&site.vault(), &site.path("old"));
        }
        let outcome = self.open(how, &format!("{acts:?}"));
        if how.access == WRITING.access && outcome == "served" {
            // What opening made good, and closing left, is whole.
            assert_ne!(
                self.open(READING, &format!("again after {acts:?}")),
                "refused"
            );
        }
        outcome
    }

    fn open(&self, how: How, when: &str) -> &'static str {
        let volume = match self.site.open(how) {
            Ok(volume) => volume,
            Err(refused) => {
                let clear = refused.is_damage() || refused.is_not_as_seen();
                assert!(clear, "{when}: {refused}");
                return "refused";
            }
        };
        let failed = assert_committed_or_eio(&tree::read(&volume), &self.committed, when);
        let events = volume.status().security_events;
        assert!(
            failed == 0 || events > 0,
            "{when}: an error without an event"
        );
        let _ = volume.close();
        if failed == 0 {
            "served"
        } else {
            "served in part"
        }
    }

    fn sweep<'a>(&self, cases: impl IntoIterator<Item = Vec<&'a Act>>, how: How) {
        let mut counts = std::collections::BTreeMap::new();
        for acts in cases {
            *counts.entry(self.attempt(&acts, how)).or_insert(0) += 1;
        }
        println!("{:?}: {counts:?}", how.access);
    }
}

fn pairs(acts: &[Act]) -> Vec<Vec<&Act>> {
    let with = |first| acts.iter().map(move |second| vec![first, second]);
    acts.iter()
        .flat_map(with)
        .filter(|pair| pair[0] != pair[1])
        .collect()
}

#[test]
fn nothing_done_to_one_file_is_read_as_something_else() {
    let ground = Ground::new();
    let acts = acts(&ground.site.path("whole"));
    ground.sweep(acts.iter().map(|act| vec![act]), READING);
    let mut random = Seeded::new();
    let some = random.sample(acts.iter().map(|act| vec![act]).collect(), 40);
    ground.sweep(some, WRITING);
}

#[test]
fn nothing_done_to_two_files_is_read_as_something_else() {
    let ground = Ground::new();
    let acts = acts(&ground.site.path("whole"));
    let mut random = Seeded::new();
    ground.sweep(random.sample(pairs(&acts), 150), READING);
    ground.sweep(random.sample(pairs(&acts), 20), WRITING);
}

#[test]
#[ignore = "slow: everything done to one or two files; scripts/test --all"]
fn nothing_done_to_any_two_files_is_read_as_something_else() {
    let ground = Ground::new();
    let acts = acts(&ground.site.path("whole"));
    ground.sweep(acts.iter().map(|act| vec![act]), WRITING);
    ground.sweep(pairs(&acts), READING);
    let mut random = Seeded::new();
    ground.sweep(random.sample(pairs(&acts), 2000), WRITING);
}
