//! What administrators and auditors do.

use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::limits;
use keyfold_protocol::names::UserName;
use keyfold_protocol::wire::{AdminFiguresReply, AdminSetUser, AdminUsersReply, Standing};

use super::access::{self, Caller};
use super::audit::{self, Act, Alert};
use super::{OF_ACCOUNT, Outcome, Work, require};
use crate::db::{accounts, figures, sessions};

pub(crate) fn users(work: &Work<'_>, caller: &Caller) -> Outcome<AdminUsersReply> {
    access::standing(caller, Standing::Auditor)?;
    Ok(AdminUsersReply {
        users: accounts::all(work.tx)?,
    })
}

pub(crate) fn figures(work: &Work<'_>, caller: &Caller) -> Outcome<AdminFiguresReply> {
    access::standing(caller, Standing::Auditor)?;
    Ok(figures::count(work.tx)?)
}

/// Sets a user's standing, quota, or whether he is switched off.
pub(crate) fn set_user(
    work: &Work<'_>,
    caller: &Caller,
    user: &UserName,
    body: &AdminSetUser,
) -> Outcome<()> {
    access::standing(caller, Standing::Admin)?;
    change_user(work, Some(&caller.account.name), user, body)
}

/// The same, by an administrator or by the server's operator at its machine.
pub(crate) fn change_user(
    work: &Work<'_>,
    by: Option<&UserName>,
    user: &UserName,
    body: &AdminSetUser,
) -> Outcome<()> {
    let quota_fits = body.quota.is_none_or(|quota| quota <= limits::NUMBER);
    require(quota_fits, ErrorCode::Malformed)?;
    let account = accounts::by_name(work.tx, user)?.filter(|account| !account.deleted);
    let root = account.ok_or(ErrorCode::NotFound)?.root;
    if let Some(standing) = body.standing {
        accounts::set_standing(work.tx, &root, standing)?;
        work.alert(Alert::RoleChange);
    }
    if let Some(quota) = body.quota {
        accounts::set_quota(work.tx, &root, quota)?;
    }
    if let Some(disabled) = body.disabled {
        accounts::set_disabled(work.tx, &root, disabled)?;
        if disabled {
            sessions::end_all(work.tx, &root)?;
        }
    }
    let change = serde_json::to_string(body).unwrap_or_default();
    audit::note(work, Act::SetUser, by, &format!("{root} {change}"))?;
    work.tell([root], OF_ACCOUNT)
}
