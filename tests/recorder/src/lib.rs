//! A recorder beneath the vault: a FUSE filesystem that passes everything through to a directory
//! and logs it, can make calls fail, and can tell what a power cut would have left at any moment.
//!
//! It is for tests only. It lies beneath the finished program, so nothing of it is in there.

mod content;
mod dice;
mod disk;
mod faults;
mod image;
mod log;
mod mount;
mod nodes;
mod passthrough;
mod serve;

pub use content::{Content, SECTOR};
pub use dice::Dice;
pub use disk::{AfterFailedSync, Disk, Loss};
pub use faults::{Call, Fault, Hit, How, Lasting};
pub use image::Image;
pub use log::{Node, Step};
pub use mount::Recorder;
