//! `mount`, `unmount` and `status`.

use std::io::IsTerminal;
use std::path::Path;

use keyfold_fs::vault::{Access, LockedVault, VaultError};
use keyfold_fs::volume::Verify;

use crate::cli::args::{MountArgs, UnmountArgs, VerifyWhen};
use crate::cli::error::{CliError, Reason};
use crate::cli::exit::Exit;
use crate::cli::folders;
use crate::cli::inside;
use crate::cli::output::{self, Form};
use crate::cli::secret::{SecretText, Source};
use crate::cli::storage;
use crate::mount::background;
use crate::mount::client;
use crate::mount::front;
use crate::mount::harden;
use crate::mount::options::{Audience, MountAccess, MountOptions};
use crate::mount::point::{MountPoint, PointError};
use crate::mount::serve::{self, Job, LogTo};
use crate::mount::unmount::{self, Manner, UnmountError};
use crate::mount_table;

/// Mounts a vault. All that can be found wrong without the password is found before it is asked
/// for.
pub(crate) fn mount(args: &MountArgs) -> Result<(), CliError> {
    // A core file of this process could hold the password. Failing to forbid it fails again, with
    // a message, in the process that serves.
    let _ = harden::forbid_core_dumps();
    let options = options(args)?;
    let access = match options.access {
        MountAccess::ReadWrite => Access::ReadWrite,
        MountAccess::ReadOnly => Access::ReadOnly,
    };
    let vault = LockedVault::open(&args.vault, access).map_err(|error| in_use(args, error))?;
    let place = MountPoint::check(&args.mount_point, vault.dir().path(), options.cover)?;
    front::check_available(options.audience)?;
    let vault_path = vault.dir().path().to_path_buf();
    drop(vault);

    let source = match (args.unlock.source.source(), &options.source) {
        (Source::Prompt, Some(source)) => source.clone(),
        (source, _) => source,
    };
    let secret = SecretText::obtain(&source, args.unlock.kind())?;
    // A typing error in a recovery key is told without opening anything.
    secret.to_secret()?;
    let log = if args.foreground {
        LogTo::Stderr
    } else {
        LogTo::File
    };
    let job = Job {
        vault: vault_path,
        point: place.path().to_path_buf(),
        options,
        secret,
        log,
    };
    if args.foreground {
        return serve::serve(job, || Ok(()));
    }
    background::start(&job)
}

/// A place that is taken, perhaps by this very vault, is a nearer reason than a vault in use.
fn in_use(args: &MountArgs, error: VaultError) -> CliError {
    if let VaultError::InUse { .. } = error
        && let Ok(place) = mount_table::locate(&args.mount_point)
        && let Ok(Some(record)) = mount_table::mount_at(&place)
    {
        return PointError::AlreadyMounted {
            point: place,
            record,
        }
        .into();
    }
    inside::hint(&args.vault, error)
}

fn options(args: &MountArgs) -> Result<MountOptions, CliError> {
    let mut options = MountOptions::default();
    for list in &args.options {
        options.apply_list(list)?;
    }
    if args.read_only {
        options.access = MountAccess::ReadOnly;
    }
    if args.allow_other {
        options.audience = Audience::Everyone;
    }
    options.idle = args.idle.or(options.idle);
    options.rollback = args.unlock.rollback();
    match args.verify {
        Some(VerifyWhen::First) => options.verify = Verify::First,
        Some(VerifyWhen::Later) => options.verify = Verify::Later,
        None => {}
    }
    Ok(options)
}

/// Ends a mount.
pub(crate) fn unmount(args: &UnmountArgs) -> Result<(), CliError> {
    let manner = match (args.lazy, args.force) {
        (true, _) => Manner::Lazy,
        (_, true) => Manner::Forced,
        _ => Manner::Careful,
    };
    Ok(unmount::unmount(&args.mount, manner)?)
}

/// Shows the state of a mounted vault.
pub(crate) fn status(mount: &Path, form: Form) -> Result<(), CliError> {
    let record = match unmount::find(mount) {
        Err(UnmountError::NotMounted(_)) if folders::leads_somewhere(mount) => {
            return folder(mount, form);
        }
        found => found?,
    };
    let text = client::status(&record.point).map_err(|e| match e.raw_os_error() {
        _ if mount_table::is_gone(&e) => UnmountError::Dead(record.point.clone()),
        Some(libc::EACCES) => UnmountError::Denied(record.point.clone()),
        _ => UnmountError::Command {
            point: record.point.clone(),
            exit: Exit::from_io(&e, Exit::General),
            why: Reason(&e).to_string(),
        },
    })?;
    match (form, serde_json::from_slice::<serde_json::Value>(&text)) {
        (Form::Text, Ok(status)) => output::text(&lines(&status, "")),
        // Also what is not JSON is better shown than kept back.
        _ => output::bytes(&text),
    }
}

/// Shows the state of a folder in a mount.
fn folder(path: &Path, form: Form) -> Result<(), CliError> {
    // What has a form in JSON has lines.
    let value = |told: Result<serde_json::Value, _>| told.unwrap_or_default();
    let status = folders::status(path)?;
    let Some(share) = &status.share else {
        return match form {
            Form::Json => output::json(&status),
            Form::Text => match &status.locked {
                Some(locked) => output::text(&lines(&value(serde_json::to_value(locked)), "")),
                None => output::line("not shared"),
            },
        };
    };
    let here = match storage::here(path) {
        // A file that is shared may have been removed.
        Err(error) if error.exit() == Exit::NoSuchPath => None,
        here => Some(here?),
    };
    if form == Form::Json {
        let mut status = value(serde_json::to_value(&status));
        status["here"] = value(serde_json::to_value(&here));
        return output::json(&status);
    }
    let mut text = lines(&value(serde_json::to_value(share)), "");
    if let Some(here) = &here {
        text.push_str(&lines(&value(serde_json::to_value(here)), "here"));
    }
    output::text(&text)
}

/// One line for each value, in the order they come.
fn lines(value: &serde_json::Value, name: &str) -> String {
    let nested = |key: &str| {
        if name.is_empty() {
            key.replace('_', " ")
        } else {
            format!("{name}, {}", key.replace('_', " "))
        }
    };
    match value {
        serde_json::Value::Object(map) => map
            .iter()
            .map(|(key, value)| lines(value, &nested(key)))
            .collect(),
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => format!("{name}: {text}\n"),
        other => format!("{name}: {other}\n"),
    }
}

/// Whether progress can be shown.
pub(crate) fn progress_is_seen() -> bool {
    std::io::stderr().is_terminal()
}
