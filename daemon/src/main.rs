//! Keyfold: the command line, and the daemon that serves a mounted vault.

mod account;
mod calendar;
mod cli;
mod control;
mod control_dir;
mod engine;
mod fuse;
#[cfg(test)]
mod fuzzing;
mod mount;
mod mount_table;
mod online;
mod orders;
mod remote;
mod sharing;
mod snapshot_dir;
mod sync;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
