//! What an operator does at the server's machine: make it, look after it, copy it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use keyfold_crypto::fill_random;
use keyfold_protocol::names::UserName;
use keyfold_protocol::wire::{AdminSetUser, AdminUser};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::config::Config;
use crate::db::{Db, accounts, blobs};
use crate::server::{AUDIT_KEY, BLOBS, CONFIG, DATABASE, PEPPER, Server, ServerError, audit_key};
use crate::service::audit::{self, AuditVerdict};
use crate::service::{Work, administration};

fn at(path: &Path) -> impl Fn(std::io::Error) -> ServerError + '_ {
    move |error| ServerError::File(path.to_owned(), error)
}

/// Makes the folder of a new server. Nobody else may read it.
pub fn init(folder: &Path, config: &Config) -> Result<(), ServerError> {
    config.check()?;
    if folder.join(DATABASE).exists() || folder.join(PEPPER).exists() {
        return Err(ServerError::Exists(folder.to_owned()));
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(folder.join(BLOBS)).map_err(at(folder))?;
    for name in [PEPPER, AUDIT_KEY] {
        let mut secret = Zeroizing::new([0; 32]);
        fill_random(secret.as_mut_slice()).map_err(|e| ServerError::Internal(e.to_string()))?;
        write_new(&folder.join(name), secret.as_slice())?;
    }
    let text = toml::to_string(config).map_err(|e| ServerError::Config(e.to_string()))?;
    if !folder.join(CONFIG).exists() {
        write_new(&folder.join(CONFIG), text.as_bytes())?;
    }
    Db::create(&folder.join(DATABASE))?;
    sync_folder(folder)
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), ServerError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path).map_err(at(path))?;
    file.write_all(bytes).map_err(at(path))?;
    file.sync_all().map_err(at(path))
}

fn sync_folder(folder: &Path) -> Result<(), ServerError> {
    let opened = fs::File::open(folder).map_err(at(folder))?;
    opened.sync_all().map_err(at(folder))
}

/// Computes the audit log's hashes again, and verifies its signatures.
pub fn verify_audit(folder: &Path) -> Result<AuditVerdict, ServerError> {
    let key = audit_key(folder)?;
    let db = Db::open(&folder.join(DATABASE))?;
    Ok(db.write_now(|tx| audit::verify(tx, &key))?)
}

/// The public half of the server's audit key.
pub fn audit_public_key(folder: &Path) -> Result<[u8; 32], ServerError> {
    audit_key(folder).map(|key| key.public())
}

/// All users.
pub fn users(folder: &Path) -> Result<Vec<AdminUser>, ServerError> {
    let db = Db::open(&folder.join(DATABASE))?;
    Ok(db.write_now(accounts::all)?)
}

/// Sets a user's standing, quota, or whether he is switched off.
pub fn set_user(folder: &Path, user: &UserName, change: &AdminSetUser) -> Result<(), ServerError> {
    let server = Server::open(folder, Config::read(folder)?)?;
    let rules = server.rules();
    let change = |tx: &crate::db::Tx<'_>| {
        administration::change_user(
            &Work::new(tx, Clock::default().now(), &rules),
            None,
            user,
            change,
        )
    };
    Ok(server.db().write_now(change)?)
}

/// Copies a server's folder, also while it serves: the database first, as at one moment, and then
/// the blobs that it names. The copy has the pepper, so it is as secret as the server.
pub fn backup(folder: &Path, target: &Path) -> Result<u64, ServerError> {
    if target.exists() {
        return Err(ServerError::Exists(target.to_owned()));
    }
    let db = Db::open(&folder.join(DATABASE))?;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(target.join(BLOBS)).map_err(at(target))?;
    db.copy_to(&target.join(DATABASE))?;
    let copied = copy_objects(folder, target)?;
    for name in [PEPPER, AUDIT_KEY, CONFIG] {
        let bytes = Zeroizing::new(fs::read(folder.join(name)).map_err(at(folder))?);
        write_new(&target.join(name), &bytes)?;
    }
    sync_folder(target)?;
    Ok(copied)
}

/// Copies the objects that the database in `target` names.
fn copy_objects(folder: &Path, target: &Path) -> Result<u64, ServerError> {
    let names = Db::open(&target.join(DATABASE))?.write_now(blobs::objects)?;
    let mut copied = 0;
    for name in names {
        let (from, to) = (
            folder.join(BLOBS).join(&name),
            target.join(BLOBS).join(&name),
        );
        let bytes = match fs::read(&from) {
            Ok(bytes) => bytes,
            // Its time was over between the two copies: no record in force needs it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(ServerError::File(from, error)),
        };
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(at(parent))?;
        }
        write_new(&to, &bytes)?;
        copied += 1;
    }
    Ok(copied)
}

/// Makes a server's folder from a backup, which stays as it is.
pub fn restore(backup_folder: &Path, folder: &Path) -> Result<u64, ServerError> {
    backup(backup_folder, folder)
}
