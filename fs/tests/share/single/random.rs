//! Random saving at the place of a file that is shared by itself, against a model.

use std::collections::BTreeMap;

use keyfold_fs::share::{Mark, NodeId};
use keyfold_fs::vfs::Vfs;

use super::{content, ino, vacant};
use crate::random::Random;
use crate::site::{Site, at, entry};

/// What the others know, learned from marks alone.
#[derive(Default)]
struct Others(Option<(NodeId, Vec<u8>)>);

impl Others {
    fn learn(&mut self, site: &Site) {
        let marks = site.marks();
        let Some(file) = ino(site, "Plan") else {
            if marks.contains(&entry(site.root, "Plan")) {
                self.0 = None;
            }
            return;
        };
        let known = self.0.as_ref().map(|(node, _)| *node);
        let id = site.member(file).unwrap();
        let looked = marks.contains(&entry(site.root, "Plan")) && known != Some(id);
        if looked || (known == Some(id) && marks.contains(&Mark::Content(file))) {
            self.0 = Some((id, content(site, file)));
        }
    }
}

fn run(seed: u64, steps: u64) {
    let mut random = Random::new(seed);
    let mut site = vacant();
    let r = site.root;
    let mut model: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    let mut others = Others::default();
    let names = ["Plan", "Plan~", "tmp"];
    for step in 0..steps {
        let mut pick = || names[random.below(3) as usize];
        let (one, other) = (pick(), pick());
        let data = step.to_le_bytes().repeat(1 + (step % 900) as usize);
        match random.below(9) {
            0 | 1 if !model.contains_key(one) => {
                site.file(r, one, &data);
                model.insert(one, data);
            }
            2 | 3 => {
                let moved = site.rename((r, one), (r, other));
                assert_eq!(moved.is_ok(), model.contains_key(one), "{moved:?}");
                if let Some(data) = model.remove(one) {
                    model.insert(other, data);
                }
            }
            4 if model.contains_key(one) && model.contains_key(other) => {
                site.exchange((r, one), (r, other)).unwrap();
                let (a, b) = (model[one].clone(), model[other].clone());
                model.insert(one, b);
                model.insert(other, a);
            }
            5 if model.remove(one).is_some() => site.v().unlink(at(r, one)).unwrap(),
            6 => {
                if let Some(old) = model.get_mut(one) {
                    site.overwrite(ino(&site, one).unwrap(), 0, &data);
                    let kept = old.split_off(old.len().min(data.len()));
                    *old = [data, kept].concat();
                }
            }
            7 => {
                site.v().sync().unwrap();
                others.learn(&site);
                let there = model.get("Plan");
                assert_eq!(others.0.as_ref().map(|(_, data)| data), there);
                site.v().sync().unwrap();
            }
            8 if random.below(4) == 0 => {
                site.v().sync().unwrap();
                site.crash();
            }
            _ => {}
        }
        for name in names {
            let file = ino(&site, name);
            let found = file.map(|file| content(&site, file));
            assert_eq!(found.as_ref(), model.get(name), "{name} at step {step}");
            let member = file.and_then(|file| site.member(file));
            assert_eq!(member.is_some(), name == "Plan" && file.is_some());
        }
    }
    site.check();
}

#[test]
fn random_saving_at_a_place_is_as_in_a_model_and_all_of_it_is_marked() {
    for seed in [1, 2, 3, 4] {
        run(seed, 150);
    }
}

#[test]
#[ignore = "long: run by scripts/test --all"]
fn much_random_saving_at_a_place_is_as_in_a_model_and_all_of_it_is_marked() {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    for n in 0..20 {
        run(since.as_nanos() as u64 ^ (n << 40), 1500);
    }
}
