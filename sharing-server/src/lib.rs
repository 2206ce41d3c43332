//! Keyfold's sharing server: accounts, shares and blobs of which it can read nothing.
//!
//! A request passes `http`, which knows HTTP and no rule; `service`, which holds all rules and knows
//! neither HTTP nor SQL; and `db`, where all SQL is. Bytes of blobs are objects beside the database.

mod app;
mod blobs;
mod bucket;
mod cap;
pub mod clock;
pub mod config;
mod connection;
mod db;
mod http;
mod mail;
pub mod operation;
pub mod server;
mod service;

pub use service::audit::AuditVerdict;
