//! Volumes of several users that sync one share by a real server.

mod apart;
mod site;
mod travels;
