//! How much there is of everything.

use keyfold_protocol::wire::AdminFiguresReply;

use super::{DbError, Tx};

pub(crate) fn count(tx: &Tx<'_>) -> Result<AdminFiguresReply, DbError> {
    let of = |sql: &str| tx.number(sql, &[]);
    Ok(AdminFiguresReply {
        users: of("SELECT COUNT(*) FROM account WHERE deleted = 0")?,
        shares: of("SELECT COUNT(*) FROM share WHERE deleted = 0")?,
        records: of("SELECT COUNT(*) FROM record")?,
        blobs: of("SELECT COUNT(*) FROM blob WHERE object IS NOT NULL")?,
        blob_bytes: of("SELECT SUM(size) FROM blob WHERE object IS NOT NULL")?,
    })
}
