//! Mounting and unmounting: checks beforehand, the serving process, and its end.

pub(crate) mod background;
pub(crate) mod busy;
pub(crate) mod client;
pub(crate) mod detach;
pub(crate) mod external;
pub(crate) mod front;
pub(crate) mod harden;
pub(crate) mod log;
pub(crate) mod options;
pub(crate) mod pins;
pub(crate) mod point;
pub(crate) mod serve;
pub(crate) mod swap;
pub(crate) mod unmount;
