//! Shares within one another come and go at random: everything stays where it is, and is in the share of the
//! root above it.

use std::collections::BTreeMap;

use keyfold_fs::error::FsError;
use keyfold_fs::share::{BeginError, ShareId, ShareNumber};
use keyfold_fs::vfs::{Ino, Vfs};

use crate::random::Random;
use crate::site::{Site, pattern};
use crate::trees::read;

/// What is under a name.
struct Node {
    parent: Ino,
    name: String,
    /// Of a file.
    content: Option<Vec<u8>>,
    /// Whether a share begins here.
    root: Option<ShareNumber>,
}

struct Model {
    site: Site,
    nodes: BTreeMap<Ino, Node>,
    /// Names and shares that were made.
    made: u64,
}

impl Model {
    fn new() -> Self {
        Self {
            site: Site::shared(),
            nodes: BTreeMap::new(),
            made: 0,
        }
    }

    fn name(&mut self) -> String {
        self.made += 1;
        format!("n{}", self.made)
    }

    fn dirs(&self) -> Vec<Ino> {
        let dirs = self.nodes.iter().filter(|(_, node)| node.content.is_none());
        let dirs = dirs.map(|(ino, _)| *ino);
        dirs.chain([self.site.root]).collect()
    }

    /// The share that something is in.
    fn share(&self, ino: Ino) -> ShareNumber {
        let Some(node) = self.nodes.get(&ino) else {
            return self.site.share;
        };
        node.root.unwrap_or_else(|| self.share(node.parent))
    }

    fn lies_within(&self, mut inner: Ino, outer: Ino) -> bool {
        while inner != outer {
            match self.nodes.get(&inner) {
                Some(node) => inner = node.parent,
                None => return false,
            }
        }
        true
    }

    fn add(&mut self, (parent, name): (Ino, String), ino: Ino, content: Option<Vec<u8>>) {
        let node = Node {
            parent,
            name,
            content,
            root: None,
        };
        self.nodes.insert(ino, node);
    }

    fn step(&mut self, random: &mut Random) {
        let dirs = self.dirs();
        let dir = dirs[random.below(dirs.len() as u64) as usize];
        match random.below(9) {
            0 | 1 => {
                let name = self.name();
                let ino = self.site.mkdir(dir, &name);
                self.add((dir, name), ino, None);
            }
            2 | 3 => {
                let (name, content) = (self.name(), pattern(5000, self.made as u8));
                let ino = self.site.file(dir, &name, &content);
                self.add((dir, name), ino, Some(content));
            }
            4 | 5 => self.rename(random, dir),
            6 | 7 => self.begin(dir),
            _ => self.end(random),
        }
    }

    fn rename(&mut self, random: &mut Random, to: Ino) {
        let all: Vec<Ino> = self.nodes.keys().copied().collect();
        if all.is_empty() {
            return;
        }
        let ino = all[random.below(all.len() as u64) as usize];
        let (new, node) = (self.name(), &self.nodes[&ino]);
        let moved = self.site.rename((node.parent, &node.name), (to, &new));
        let crosses = self.share(node.parent) != self.share(to);
        if crosses {
            assert_eq!(moved, Err(FsError::CrossTree));
        } else if self.lies_within(to, ino) {
            assert_eq!(moved, Err(FsError::InvalidArgument));
        } else {
            moved.unwrap();
            let node = self.nodes.get_mut(&ino).unwrap();
            (node.parent, node.name) = (to, new);
        }
    }

    fn begin(&mut self, dir: Ino) {
        self.made += 1;
        let mut id = [0; 32];
        id[..8].copy_from_slice(&self.made.to_le_bytes());
        let begun = self.site.v().begin_share_within(ShareId(id), dir, b"");
        let is_root = self.nodes.get(&dir).is_none_or(|node| node.root.is_some());
        let mut roots = self.nodes.iter().filter(|(_, node)| node.root.is_some());
        if is_root || roots.any(|(ino, _)| self.lies_within(*ino, dir)) {
            assert_eq!(begun, Err(BeginError::Volume(FsError::Busy)));
        } else {
            self.nodes.get_mut(&dir).unwrap().root = Some(begun.unwrap());
        }
    }

    fn end(&mut self, random: &mut Random) {
        let roots = self.nodes.values_mut().filter(|node| node.root.is_some());
        let mut roots: Vec<&mut Node> = roots.collect();
        if !roots.is_empty() {
            let which = random.below(roots.len() as u64) as usize;
            self.site.v().end_share(roots[which].root.unwrap()).unwrap();
            roots[which].root = None;
        }
    }

    fn compare(&self) {
        for (ino, node) in &self.nodes {
            let found = self.site.v().view_entry(node.parent, node.name.as_bytes());
            let found = found.unwrap().unwrap();
            assert_eq!(
                (found.ino, found.point.is_some()),
                (*ino, node.root.is_some())
            );
            let (share, _) = self.site.v().share_member(*ino).unwrap().unwrap();
            assert_eq!(share, self.share(*ino), "{}", node.name);
            if let Some(content) = &node.content {
                assert_eq!(read(&self.site, *ino), *content);
            }
        }
        let roots = self.nodes.values().filter(|node| node.root.is_some());
        assert_eq!(self.site.v().shares().unwrap().len(), 1 + roots.count());
        self.site.check();
    }
}

fn run(seed: u64, rounds: u64) {
    let mut random = Random::new(seed);
    let mut model = Model::new();
    for _ in 0..rounds {
        for _ in 0..20 {
            model.step(&mut random);
        }
        match random.below(3) {
            0 => {
                model.site.v().sync().unwrap();
                model.site.crash();
            }
            1 => model.site.remount(),
            _ => {}
        }
        model.compare();
    }
}

#[test]
fn shares_come_and_go_within_one_another_and_everything_stays_where_it_is() {
    for seed in [1, 2] {
        run(seed, 5);
    }
}

#[test]
#[ignore = "long: run by scripts/test --all"]
fn many_shares_come_and_go_within_one_another() {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    for n in 0..20 {
        run(since.as_nanos() as u64 ^ (n << 40), 40);
    }
}
