//! Volumes of several users that sync one share by a real server.

mod apart;
mod broken_off;
mod kept;
mod lost;
mod random;
mod single;
mod site;
mod snapshots;
mod transfers;
mod travels;
