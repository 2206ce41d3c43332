//! What suites share that run a volume above a recorder.

pub mod act;
pub mod history;
pub mod judge;
pub mod recording;
pub mod seen;
pub mod stage;
pub mod vault;
pub mod words;
pub mod workloads;
