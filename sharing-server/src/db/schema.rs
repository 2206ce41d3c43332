//! The tables, and how a database of an older server becomes one of this.

use rusqlite::Connection;

use super::DbError;

/// What each version of the schema adds to the one before. A released step is never edited.
const STEPS: &[&str] = &[FIRST, SECOND];

const FIRST: &str = "
CREATE TABLE account (
  root BLOB PRIMARY KEY, name TEXT NOT NULL UNIQUE, email TEXT NOT NULL,
  email_verified INTEGER NOT NULL, standing INTEGER NOT NULL, disabled INTEGER NOT NULL,
  deleted INTEGER NOT NULL, quota INTEGER NOT NULL, used INTEGER NOT NULL,
  created INTEGER NOT NULL, salt BLOB NOT NULL, rounds INTEGER NOT NULL, mac BLOB NOT NULL,
  auth BLOB NOT NULL, recovery_auth BLOB NOT NULL, root_password BLOB NOT NULL,
  root_recovery BLOB NOT NULL, book_generation INTEGER NOT NULL, book BLOB NOT NULL,
  last_event INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX account_email ON account (email);
CREATE TABLE chain_entry (
  root BLOB NOT NULL REFERENCES account, seq INTEGER NOT NULL, entry BLOB NOT NULL,
  signed BLOB NOT NULL, PRIMARY KEY (root, seq)) WITHOUT ROWID;
CREATE TABLE session (
  token BLOB PRIMARY KEY, root BLOB NOT NULL REFERENCES account, device BLOB NOT NULL,
  device_name TEXT NOT NULL, since INTEGER NOT NULL, last_seen INTEGER NOT NULL,
  expires INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX session_root ON session (root, device);
CREATE TABLE mail_token (
  token BLOB PRIMARY KEY, kind INTEGER NOT NULL, email TEXT NOT NULL, root BLOB,
  created INTEGER NOT NULL, expires INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX mail_token_email ON mail_token (email);
CREATE TABLE throttle (
  subject BLOB PRIMARY KEY, since INTEGER NOT NULL, count INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE pin (
  root BLOB NOT NULL REFERENCES account, vault BLOB NOT NULL, counter INTEGER NOT NULL,
  sealed BLOB NOT NULL, PRIMARY KEY (root, vault)) WITHOUT ROWID;
CREATE TABLE act (
  root BLOB NOT NULL, nonce BLOB NOT NULL, time INTEGER NOT NULL,
  PRIMARY KEY (root, nonce)) WITHOUT ROWID;

CREATE TABLE share (
  id BLOB PRIMARY KEY, deleted INTEGER NOT NULL, creator BLOB NOT NULL, nonce BLOB NOT NULL,
  head_seq INTEGER NOT NULL, head BLOB NOT NULL, roster_record BLOB NOT NULL,
  roster_time INTEGER NOT NULL, version INTEGER NOT NULL, epoch INTEGER NOT NULL,
  commitment BLOB NOT NULL, rotation_due INTEGER NOT NULL, snapshot INTEGER,
  retention INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE member (
  share BLOB NOT NULL REFERENCES share, root BLOB NOT NULL, user_name TEXT NOT NULL,
  entry BLOB NOT NULL, entry_seq INTEGER NOT NULL, identity BLOB NOT NULL, kem BLOB NOT NULL,
  role INTEGER NOT NULL, expires INTEGER, PRIMARY KEY (share, root)) WITHOUT ROWID;
CREATE INDEX member_root ON member (root);
CREATE TABLE record (
  share BLOB NOT NULL REFERENCES share, seq INTEGER NOT NULL, hash BLOB NOT NULL,
  kind INTEGER NOT NULL, payer BLOB NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (share, seq));
CREATE UNIQUE INDEX record_hash ON record (share, hash);
CREATE TABLE record_grant (
  share BLOB NOT NULL, seq INTEGER NOT NULL, recipient BLOB NOT NULL, bytes BLOB NOT NULL,
  PRIMARY KEY (share, seq, recipient));
CREATE TABLE receipt (
  share BLOB NOT NULL REFERENCES share, root BLOB NOT NULL, device BLOB NOT NULL,
  seq INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (share, root, device)) WITHOUT ROWID;

CREATE TABLE blob (
  share BLOB NOT NULL REFERENCES share, id BLOB NOT NULL, size INTEGER NOT NULL,
  received INTEGER NOT NULL, object TEXT, payer BLOB NOT NULL, created INTEGER NOT NULL,
  added_at INTEGER, dropped_at INTEGER, dropped_time INTEGER,
  PRIMARY KEY (share, id)) WITHOUT ROWID;
CREATE INDEX blob_dropped ON blob (dropped_time) WHERE dropped_time IS NOT NULL;
CREATE INDEX blob_unnamed ON blob (created) WHERE added_at IS NULL;
CREATE TABLE piece (
  share BLOB NOT NULL, id BLOB NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL,
  object TEXT NOT NULL, PRIMARY KEY (share, id, start)) WITHOUT ROWID;
CREATE TABLE doomed (object TEXT PRIMARY KEY) WITHOUT ROWID;

CREATE TABLE publication (
  hash BLOB PRIMARY KEY, share BLOB NOT NULL REFERENCES share, serial INTEGER NOT NULL,
  owner BLOB NOT NULL, slug TEXT NOT NULL, audience INTEGER NOT NULL, current INTEGER NOT NULL,
  bytes BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX publication_share ON publication (share, current);
CREATE INDEX publication_slug ON publication (owner, slug);
CREATE TABLE audience (
  hash BLOB NOT NULL REFERENCES publication, user_name TEXT NOT NULL,
  PRIMARY KEY (hash, user_name)) WITHOUT ROWID;
CREATE INDEX audience_user ON audience (user_name);
CREATE TABLE request (
  hash BLOB PRIMARY KEY, publication BLOB NOT NULL REFERENCES publication, share BLOB NOT NULL,
  root BLOB NOT NULL, received INTEGER NOT NULL, expires INTEGER NOT NULL,
  state INTEGER NOT NULL, bytes BLOB NOT NULL, decision BLOB) WITHOUT ROWID;
CREATE INDEX request_share ON request (share);
CREATE INDEX request_root ON request (root);

CREATE TABLE event (
  root BLOB NOT NULL REFERENCES account, number INTEGER NOT NULL, kind INTEGER NOT NULL,
  share BLOB, request BLOB, PRIMARY KEY (root, number)) WITHOUT ROWID;
CREATE TABLE audit (
  number INTEGER PRIMARY KEY, time INTEGER NOT NULL, act TEXT NOT NULL, user_name TEXT,
  subject TEXT NOT NULL, hash BLOB NOT NULL);
";

const SECOND: &str = "
ALTER TABLE audit ADD COLUMN signature BLOB;
CREATE TABLE second_factor (
  root BLOB PRIMARY KEY REFERENCES account, nonce BLOB NOT NULL, confirmed INTEGER NOT NULL,
  last_step INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE recovery_code (
  root BLOB NOT NULL REFERENCES account, code BLOB NOT NULL,
  PRIMARY KEY (root, code)) WITHOUT ROWID;
";

/// Brings the schema up to date, each step in a transaction.
pub(super) fn migrate(connection: &Connection) -> Result<(), DbError> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let done = usize::try_from(version).map_err(|_| DbError::Newer)?;
    let steps = STEPS.get(done..).ok_or(DbError::Newer)?;
    for (place, step) in steps.iter().enumerate() {
        let version = done + place + 1;
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {step} PRAGMA user_version = {version}; COMMIT;"
        ))?;
    }
    Ok(())
}
