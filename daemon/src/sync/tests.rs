//! Volumes of several users that sync one share by a real server.

mod apart;
mod random;
mod site;
mod travels;
