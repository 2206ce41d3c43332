//! What was written, and what has to be there.
//!
//! A token has to be in some file once it was confirmed, until somebody takes it out of a file in which
//! he saw it. And every file is, from its first byte to its last, as somebody made it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use crate::cells::{Token, tokens};
use crate::picture::{Picture, Seen};

/// What is known of a token that nobody took out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Written by this machine, and in its memory.
    Written(usize),
    /// Durable: it has to be there.
    Confirmed,
}

/// What was written, and what has to be there.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    last: u64,
    standing: BTreeMap<Token, Standing>,
    /// Every content that a file ever had anywhere.
    contents: HashSet<Vec<u8>>,
    acts: BTreeMap<&'static str, u64>,
    refused: BTreeMap<(&'static str, i32), u64>,
    kills: u64,
    conflicts: u64,
    /// What happened, in order.
    story: Vec<String>,
}

impl Ledger {
    /// Notes what happens, should it end badly.
    pub(crate) fn note(&mut self, what: String) {
        self.story.push(what);
    }

    /// A token that was never written.
    pub(crate) fn token(&mut self) -> Token {
        self.last += 1;
        Token(self.last)
    }

    /// A machine made of one content of a file the other, having read the first.
    pub(crate) fn changed(&mut self, machine: usize, before: &[u8], after: &[u8]) {
        let (old, new) = (tokens(before, "what was read"), tokens(after, "the new"));
        for token in old.difference(&new) {
            self.standing.remove(token);
        }
        for token in new.difference(&old) {
            self.standing.insert(*token, Standing::Written(machine));
        }
        self.contents.insert(after.to_vec());
    }

    /// A machine took a file away that it had read.
    pub(crate) fn removed(&mut self, content: &[u8]) {
        for token in tokens(content, "what was removed") {
            self.standing.remove(&token);
        }
    }

    /// The content of a file was confirmed.
    pub(crate) fn confirmed(&mut self, content: &[u8]) {
        for token in tokens(content, "what was confirmed") {
            if let Some(standing) = self.standing.get_mut(&token) {
                *standing = Standing::Confirmed;
            }
        }
    }

    /// Everything that a machine wrote was confirmed.
    pub(crate) fn all_confirmed(&mut self, machine: usize) {
        for standing in self.standing.values_mut() {
            if *standing == Standing::Written(machine) {
                *standing = Standing::Confirmed;
            }
        }
    }

    /// A machine was killed: what was in its memory may be gone, and with it that it took anything out.
    pub(crate) fn killed(&mut self, machine: usize) {
        self.kills += 1;
        self.note(format!("machine {machine} was killed"));
        self.standing
            .retain(|_, standing| *standing != Standing::Written(machine));
    }

    /// Counts an act, which ended so.
    pub(crate) fn count(&mut self, what: &'static str, ended: Result<(), i32>) {
        match ended {
            Ok(()) => *self.acts.entry(what).or_default() += 1,
            Err(errno) => *self.refused.entry((what, errno)).or_default() += 1,
        }
    }

    /// Takes what is everywhere as known and confirmed.
    pub(crate) fn tell(&mut self, picture: &Picture) {
        for machine in 0..3 {
            self.all_confirmed(machine);
        }
        let files = picture.values().filter_map(Seen::content);
        self.contents.extend(files.map(<[u8]>::to_vec));
    }

    /// Holds what is there against what has to be.
    #[track_caller]
    pub(crate) fn compare(&mut self, when: &str, picture: &Picture) {
        let mut there = BTreeSet::new();
        for (path, seen) in picture {
            let Some(content) = seen.content() else {
                continue;
            };
            let name = path.to_string_lossy();
            there.extend(tokens(content, &name));
            assert!(
                self.contents.contains(content),
                "{when}: {name} is as nobody ever made it"
            );
            self.conflicts += u64::from(name.contains("(conflict, "));
        }
        let confirmed = |token: &&Token| self.standing[token] == Standing::Confirmed;
        let lost: Vec<_> = self
            .standing
            .keys()
            .filter(|token| !there.contains(token))
            .collect();
        // All were up and everything is known by now, so nothing is in a memory alone.
        assert!(
            lost.is_empty(),
            "{when}: lost {lost:?}, of which confirmed {:?}",
            lost.iter().copied().filter(confirmed).collect::<Vec<_>>()
        );
    }

    /// Panics where nearly nothing succeeded, so that nothing was tried.
    #[track_caller]
    pub(crate) fn expect_work(&self) {
        let (done, refused): (u64, u64) = (self.acts.values().sum(), self.refused.values().sum());
        assert!(done > refused, "{done} acts, and {refused} that failed");
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done: u64 = self.acts.values().sum();
        writeln!(f, "{done} acts: {:?}", self.acts)?;
        writeln!(f, "refused: {:?}", self.refused)?;
        let (tokens, kills) = (self.last, self.kills);
        let conflicts = self.conflicts;
        write!(
            f,
            "{tokens} contents, {kills} kills, conflict copies seen {conflicts} times"
        )
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- what happened\n{}", self.story.join("\n"));
        }
    }
}
