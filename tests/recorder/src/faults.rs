//! Making calls fail.

use std::ffi::OsString;

use crate::log::Node;

/// A kind of call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// Reading a file.
    Read,
    /// Writing to a file.
    Write,
    /// Making a file or a directory durable.
    Sync,
    /// Allocating space ahead.
    Allocate,
    /// Making a hole.
    Punch,
    /// Changing a size.
    SetLen,
    /// Making, renaming or removing a name.
    Name,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// With this errno, having done nothing.
    Errno(i32),
    /// It does half of what it was asked to, which reading and writing may.
    Short,
}

/// How long the trouble lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasting {
    /// One call.
    Once,
    /// From that call on.
    Onwards,
}

/// Which call fails, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The kind of call.
    pub call: Call,
    /// Counts only calls for what has this name; for anything when none is given.
    pub of: Option<&'static str>,
    /// Which of its kind, counted from 0 since the fault was armed.
    pub nth: u64,
    /// How.
    pub how: How,
    /// For how long.
    pub lasting: Lasting,
}

/// A call that was made to fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// What it was.
    pub call: Call,
    /// The last name of the file or directory.
    pub name: OsString,
    /// In which file, and where in it, a write was to begin.
    pub place: Option<(Node, u64)>,
}

/// The fault that waits, and what it has hit.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    armed: Option<Fault>,
    paused: bool,
    seen: u64,
    hits: Vec<Hit>,
}

impl Faults {
    pub(crate) fn arm(&mut self, fault: Option<Fault>) {
        *self = Self {
            armed: fault,
            ..Self::default()
        };
    }

    /// Nothing fails any more; what was hit stays known.
    pub(crate) fn disarm(&mut self) {
        self.armed = None;
    }

    /// Nothing fails and nothing is counted until [`Faults::resume`].
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    pub(crate) fn resume(&mut self) {
        self.paused = false;
    }

    /// Calls of the armed kind since it was armed.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    pub(crate) fn hits(&self) -> &[Hit] {
        &self.hits
    }

    /// The last hit was a write that was to begin here.
    pub(crate) fn note_place(&mut self, place: (Node, u64)) {
        if let Some(hit) = self.hits.last_mut().filter(|hit| hit.call == Call::Write) {
            hit.place.get_or_insert(place);
        }
    }

    /// Counts a call. Returns how it has to fail.
    pub(crate) fn meet(&mut self, call: Call, name: &OsString) -> Option<How> {
        let meant = |f: &Fault| f.call == call && f.of.is_none_or(|of| name == of);
        let fault = self.armed.filter(|f| meant(f) && !self.paused)?;
        let now = self.seen;
        self.seen += 1;
        let hit = match fault.lasting {
            Lasting::Once => now == fault.nth,
            Lasting::Onwards => now >= fault.nth,
        };
        hit.then(|| {
            let name = name.clone();
            self.hits.push(Hit {
                call,
                name,
                place: None,
            });
            fault.how
        })
    }
}
