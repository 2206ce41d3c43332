//! Random changes by two members who sync now and then: in the end both have the same, and every
//! version of a file that was written last by somebody is somewhere.

use std::collections::BTreeSet;

use keyfold_fs::vfs::{Handle, Ino, Vfs};

use super::site::{People, RW, Site, assert_same, share};
use crate::remote::tests::run;

pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }
}

/// What somebody wrote as a whole, and nobody removed or wrote over knowingly.
type Written = BTreeSet<Vec<u8>>;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn some_path(site: &Site<'_, '_>, random: &mut Random) -> Option<String> {
    let paths = site.paths();
    (!paths.is_empty()).then(|| paths[random.below(paths.len())].clone())
}

fn free_path(site: &Site<'_, '_>, random: &mut Random) -> Option<String> {
    let name = NAMES[random.below(NAMES.len())];
    let dirs = site.paths().into_iter();
    let mut dirs: Vec<String> = dirs.filter(|path| site.is_dir(path)).collect();
    dirs.push(String::new());
    let dir = &dirs[random.below(dirs.len())];
    let path = if dir.is_empty() {
        name.to_owned()
    } else {
        format!("{dir}/{name}")
    };
    site.find(&path).is_none().then_some(path)
}

fn step(site: &Site<'_, '_>, random: &mut Random, (written, count): (&mut Written, u64)) {
    let known = some_path(site, random);
    let free = free_path(site, random);
    match (random.below(6), known, free) {
        (0, _, Some(to)) => site.mkdir(&to),
        (1, _, Some(to)) => {
            let data = format!("version {count}").into_bytes();
            site.file(&to, &data);
            written.insert(data);
        }
        (2 | 3, Some(path), _) if !site.is_dir(&path) => {
            written.remove(&site.read(&path));
            let data = format!("version {count}").into_bytes();
            site.truncate(&path, 0);
            site.overwrite(&path, 0, &data);
            written.insert(data);
        }
        (4, Some(path), Some(to)) if !to.starts_with(&path) => site.rename(&path, &to),
        (5, Some(path), _) if !site.is_dir(&path) => {
            written.remove(&site.read(&path));
            site.unlink(&path);
        }
        (5, Some(path), _)
            if !site
                .paths()
                .iter()
                .any(|p| p.starts_with(&format!("{path}/"))) =>
        {
            site.rmdir(&path);
        }
        _ => {}
    }
}

/// Begins or ends writing to some file.
fn open_or_close(site: &Site<'_, '_>, random: &mut Random, opened: &mut Vec<(Ino, Handle)>) {
    let known = some_path(site, random);
    match (random.below(2), known) {
        (0, Some(path)) if !site.is_dir(&path) => {
            let ino = site.ino(&path);
            opened.push((ino, site.v().open(ino, RW).unwrap()));
        }
        _ => {
            if let Some((ino, handle)) = opened.pop() {
                site.v().release(ino, handle);
            }
        }
    }
}

fn converge(seed: u64, steps: u64) {
    println!("KEYFOLD_SEED={seed}");
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut sites = [
        Site::begin((&people.alice, &a), id, |_, _| {}),
        Site::begin((&people.bob, &b), id, |_, _| {}),
    ];
    let mut random = Random(seed | 1);
    let mut written = Written::new();
    let mut opened = [Vec::new(), Vec::new()];
    for count in 0..steps {
        let who = random.below(2);
        match random.below(14) {
            0 => drop(run(sites[who].sync.push()).unwrap()),
            1 => drop(run(sites[who].sync.pull()).unwrap()),
            3 | 4 => open_or_close(&sites[who], &mut random, &mut opened[who]),
            2 if random.below(3) == 0 => sites[who].again(),
            _ => step(&sites[who], &mut random, (&mut written, count)),
        }
    }
    for (site, opened) in sites.iter().zip(&mut opened) {
        for (ino, handle) in opened.drain(..) {
            site.v().release(ino, handle);
        }
    }
    for who in [0, 1, 0, 1] {
        sites[who].push();
    }
    assert_same(&sites[0], &sites[1]);
    let all: Written = sites[0].seen().into_values().map(|node| node.4).collect();
    let lost: Vec<_> = written.difference(&all).collect();
    assert!(lost.is_empty(), "{lost:?}");
    run(sites[0].sync.pull()).unwrap();
}

/// Random, or `KEYFOLD_SEED`.
pub(super) fn seed() -> u64 {
    if let Ok(text) = std::env::var("KEYFOLD_SEED") {
        return text.parse().unwrap();
    }
    let mut seed = [0; 8];
    keyfold_crypto::fill_random(&mut seed).unwrap();
    u64::from_le_bytes(seed)
}

#[test]
fn random_changes_of_two_come_out_the_same_and_no_version_is_lost() {
    converge(seed(), 60);
}

#[test]
#[ignore = "long"]
fn many_random_changes_of_two_come_out_the_same_and_no_version_is_lost() {
    let seed = seed();
    for n in 0..20 {
        converge(seed.wrapping_add(n), 150);
    }
}
