//! Which states a volume may show after a crash at a position of the log.
//!
//! The rule is that of docs/semantics.md: the namespace is as it was at one moment, not before
//! the last one that was confirmed; each file's content is as it was at one moment, not after
//! that of the namespace, not before the file's last sync, and not before the file was renamed
//! over another if the namespace shows that.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use keyfold_fs::vfs::Ino;

use crate::recorded::act::Confirmed;
use crate::recorded::seen::Seen;

/// The state after an operation.
pub struct Moment {
    /// What it shows.
    pub seen: Seen,
    digest: u64,
    /// Length of the log when the operation began: an earlier crash cannot show it.
    began: usize,
    /// What led to it, for people.
    by: String,
}

struct Confirmation {
    /// Length of the log when it was given.
    given: usize,
    moment: usize,
    what: Confirmed,
}

/// All moments, oldest first, and what was confirmed.
pub struct History {
    moments: Vec<Moment>,
    confirmations: Vec<Confirmation>,
    /// Moments at which a file took the place of another.
    replacing: Vec<(usize, Ino)>,
}

/// A moment at which the namespace is, and those of contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit {
    pub namespace: usize,
    pub contents: BTreeMap<Ino, usize>,
}

impl History {
    /// Begins with a state that is durable.
    pub fn starting_at(seen: Seen) -> Self {
        let mut history = Self {
            moments: Vec::new(),
            confirmations: Vec::new(),
            replacing: Vec::new(),
        };
        history.moments.push(Moment {
            digest: seen.namespace_digest(),
            seen,
            began: 0,
            by: "the beginning".to_owned(),
        });
        history.confirm(Confirmed::Everything, 0);
        history
    }

    /// An operation that began when the log had `began` steps led to `seen`.
    pub fn push(&mut self, seen: Seen, began: usize, by: String) {
        self.moments.push(Moment {
            digest: seen.namespace_digest(),
            seen,
            began,
            by,
        });
    }

    /// Whoever made the moments that began when the log had `position` steps, or later, was
    /// dead by then: nothing of them is ever shown.
    pub fn forget_from(&mut self, position: usize) {
        self.moments.retain(|m| m.began < position);
        let now = self.now();
        self.replacing.retain(|(moment, _)| *moment <= now);
        for confirmation in &mut self.confirmations {
            // What was confirmed without writing anything was so before.
            confirmation.moment = confirmation.moment.min(now);
        }
    }

    /// The latest moment.
    pub fn now(&self) -> usize {
        self.moments.len() - 1
    }

    /// The present was confirmed when the log had `given` steps.
    pub fn confirm(&mut self, what: Confirmed, given: usize) {
        let moment = self.now();
        self.confirmations.push(Confirmation {
            given,
            moment,
            what,
        });
    }

    /// The last operation put `ino` in the place of another file.
    pub fn replaced_by(&mut self, ino: Ino) {
        self.replacing.push((self.now(), ino));
    }

    /// The moments that a crash at `position` may show, by number: those of the namespace.
    pub fn namespaces(&self, position: usize) -> std::ops::RangeInclusive<usize> {
        let begun = |m: &&Moment| m.began < position || m.began == 0;
        let last = self.moments.iter().take_while(begun).count().max(1) - 1;
        let floor = self.floor(position, |_| true);
        // What writes nothing may have begun and been confirmed at the same length of the log.
        floor..=last.max(floor)
    }

    fn floor(&self, position: usize, counts: impl Fn(Confirmed) -> bool) -> usize {
        let given = self
            .confirmations
            .iter()
            .filter(|c| c.given <= position && counts(c.what));
        given.map(|c| c.moment).max().unwrap_or(0)
    }

    fn content_floor(&self, (position, namespace): (usize, usize), ino: Ino) -> usize {
        let synced = self.floor(position, |what| match what {
            Confirmed::Everything => true,
            Confirmed::File(of) => of == ino,
            Confirmed::Names => false,
        });
        let replaced = self
            .replacing
            .iter()
            .filter(|(since, of)| *of == ino && *since <= namespace);
        replaced.map(|(since, _)| *since).fold(synced, usize::max)
    }

    /// Finds moments that fit what a crash at `position` left.
    ///
    /// # Errors
    /// Says what does not fit.
    pub fn fit(&self, position: usize, seen: &Seen) -> Result<Fit, String> {
        let allowed = self.namespaces(position);
        let digest = seen.namespace_digest();
        let alike = |m: &usize| {
            self.moments[*m].digest == digest && self.moments[*m].seen.same_namespace(seen)
        };
        let mut misfits = Vec::new();
        for namespace in allowed.clone().rev().filter(alike) {
            match self.fit_contents((position, namespace), seen) {
                Ok(contents) => {
                    return Ok(Fit {
                        namespace,
                        contents,
                    });
                }
                Err(why) => misfits.push(why),
            }
        }
        if misfits.is_empty() {
            return Err(self.no_namespace(allowed, seen));
        }
        Err(misfits.join("\n"))
    }

    fn fit_contents(
        &self,
        (position, namespace): (usize, usize),
        seen: &Seen,
    ) -> Result<BTreeMap<Ino, usize>, String> {
        let mut contents = BTreeMap::new();
        for (ino, content) in &seen.contents {
            let floor = self.content_floor((position, namespace), *ino);
            let at = |m: usize| self.moments[m].seen.contents.get(ino);
            let fits = (floor..=namespace)
                .rev()
                .find(|m| at(*m).is_some_and(|c| c == content));
            let Some(moment) = fits else {
                let path = seen.path_of(*ino);
                let mut why = format!(
                    "with the namespace of moment {namespace} ({}), /{path} is as at none of its \
                     moments from {floor} on",
                    self.moments[namespace].by
                );
                for m in (0..=namespace).rev() {
                    if let Some(c) = at(m) {
                        let by = &self.moments[m].by;
                        let _ = write!(why, "\n  {m} ({by}): {}", content.difference(c));
                    }
                }
                return Err(why);
            };
            contents.insert(*ino, moment);
        }
        Ok(contents)
    }

    fn no_namespace(&self, allowed: std::ops::RangeInclusive<usize>, seen: &Seen) -> String {
        let digest = seen.namespace_digest();
        let other = (0..self.moments.len()).find(|m| self.moments[*m].digest == digest);
        let mut why = format!("the namespace is as at none of the moments {allowed:?}");
        if let Some(other) = other {
            let by = &self.moments[other].by;
            let _ = write!(why, "; it is as at moment {other} ({by})");
        }
        for m in [*allowed.start(), *allowed.end()] {
            let moment = &self.moments[m];
            let difference = moment.seen.namespace_difference(seen);
            let _ = write!(why, "\nagainst moment {m} ({}):\n{difference}", moment.by);
        }
        why
    }
}
