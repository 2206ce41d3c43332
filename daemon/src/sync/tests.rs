//! Volumes of several users that sync one share by a real server.

mod apart;
mod broken_off;
mod kept;
mod kept_back;
mod lost;
mod points;
mod random;
mod repack;
mod single;
mod site;
mod snapshots;
mod symlinks;
mod transfers;
mod travels;
mod wholes;
