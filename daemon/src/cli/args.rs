//! The command line: every command and option, with the text that explains it.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::cli::account::{AccountCommand, ReadArgs, TrustArgs};
use crate::cli::exit::Exit;
use crate::cli::folders::{AcceptArgs, WaitArgs};
use crate::cli::offers::OffersCommand;
use crate::cli::secret::{CostArgs, NewPasswordArgs, SourceArgs, UnlockArgs};
use crate::cli::sharing::{GroupArgs, LeaveArgs, MembersArgs, RoleArgs};
use crate::cli::snapshots::args::SnapshotCommand;
use crate::cli::storage::StorageCommand;
use crate::control;
use crate::mount::options::parse_duration;

/// An end-to-end encrypted folder
///
/// Keyfold keeps files encrypted in a vault, which is a directory, and shows them as an ordinary
/// folder while the vault is mounted.
#[derive(Debug, Parser)]
#[command(name = "keyfold", version, propagate_version = true)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new vault
    Init(InitArgs),
    /// Mount a vault on a directory
    Mount(MountArgs),
    /// End a mount, once everything is safe on disk
    #[command(visible_alias = "umount")]
    Unmount(UnmountArgs),
    /// List, add, change or remove the passwords of a vault
    Passwd {
        #[command(subcommand)]
        command: PasswdCommand,
    },
    /// Show what is known of a vault without its password
    Info {
        /// The vault
        vault: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Verify a vault, mounted or not
    Check(CheckArgs),
    /// Keep the files as they are now, and bring back what was kept
    ///
    /// In a mount, snapshots are shown below .keyfold/snapshots/ and can only be read. They take the
    /// space of what was changed or deleted since.
    Snapshot {
        #[command(subcommand)]
        command: SnapshotCommand,
    },
    /// Run a backup program on a vault that is held still, mounted or not
    ///
    /// The program is told a directory that is a whole vault, as it was when the command began.
    /// Nothing in it changes until the program ends, whatever goes on in the mount. The exit status
    /// is the program's own.
    #[command(after_long_help = BACKUP_EXAMPLE)]
    BackupHold {
        /// The vault, or where it is mounted
        vault: PathBuf,
        /// The program and its arguments, after --
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// List files of a vault that is not mounted
    Ls(LsArgs),
    /// Print a file of a vault that is not mounted
    Cat {
        /// The vault
        vault: PathBuf,
        /// The file in it
        path: PathBuf,
        #[command(flatten)]
        look: LookArgs,
    },
    /// Copy a file or directory out of a vault that is not mounted
    Get {
        /// The vault
        vault: PathBuf,
        /// The file or directory in it
        path: PathBuf,
        /// Where to put it; into it, where that is a directory
        dest: PathBuf,
        /// Print a report in JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        look: LookArgs,
    },
    /// Decrypt a whole vault into a directory
    ///
    /// Repeating the command goes on where an earlier run ended: files whose size and time of
    /// modification match are not written again. Damaged files are left out and named.
    Export {
        /// The vault
        vault: PathBuf,
        /// The directory to write, made where necessary
        dest: PathBuf,
        /// Print a report in JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        look: LookArgs,
    },
    /// Back up or restore the part of a vault that holds its keys
    Header {
        #[command(subcommand)]
        command: HeaderCommand,
    },
    /// Show the state of a mounted vault, or of a folder or file in it
    Status {
        /// The mount point, or a path in it
        mount: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Use this vault with an account on a sharing server
    Account {
        #[command(subcommand)]
        command: AccountCommand,
    },
    /// Compare somebody's safety words, and note that they are his
    ///
    /// Ask him for them over another way than the server: read them out on the telephone, or
    /// compare them side by side.
    Trust(TrustArgs),
    /// List the people this vault knows
    People(ReadArgs),
    /// Give somebody a folder or a file of a mounted vault
    ///
    /// It appears in his mount below Shared/, named as here. Without an option he may read. He has to be
    /// verified with `keyfold trust`, or his fingerprint be given with --key.
    Share(control::Share),
    /// Take a folder or a file back from somebody
    ///
    /// What is written from then on is under a key that he does not have.
    Unshare(control::Unshare),
    /// Wait until a shared folder or file is the same here and on the server
    WaitSynced(WaitArgs),
    #[command(flatten)]
    Storage(StorageCommand),
    /// Take into a mounted vault what somebody gives who is not verified
    Accept(AcceptArgs),
    /// List the shares that an account is in
    Shares(ReadArgs),
    /// List who is in a share, and at what record each was last seen
    Members(MembersArgs),
    /// Change what somebody may do in a share, or remove him
    Role(RoleArgs),
    /// Keep groups of people, to give something to all of them with @GROUP
    ///
    /// A group is a name for the people who are in it when something is given. What was given stays as it
    /// is when the group changes.
    Group(GroupArgs),
    /// Take part in a share no longer
    Leave(LeaveArgs),
    #[command(flatten)]
    Offers(OffersCommand),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages into a directory
    Man {
        /// The directory
        dir: PathBuf,
    },
}

/// How a backup program learns what to copy.
const BACKUP_EXAMPLE: &str = "The directory is in the environment as KEYFOLD_VAULT. The program is \
started without a shell; a line that names the variable needs one:\n\n  \
keyfold backup-hold ~/Vault -- sh -c 'rsync -a --delete \"$KEYFOLD_VAULT/\" /backup/Vault.kf'";

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The directory to make; one that exists must be empty
    pub(crate) vault: PathBuf,
    /// Write the recovery key to FILE, readable by its owner only, instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(crate) recovery_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cost: CostArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// What -o takes, with what it does.
pub(crate) const MOUNT_OPTIONS: [(&str, &str); 18] = [
    ("ro, rw", "read-only, as with --read-only, or not"),
    ("allow_other", "as with --allow-other"),
    ("nonempty", "mount over a directory that is not empty"),
    ("idle=TIME", "as with --idle"),
    (
        "dirty=SIZE",
        "bound on data not yet written to the vault, 4M to 64G",
    ),
    (
        "cache=SIZE",
        "bound on what is here of shares and at their server",
    ),
    (
        "foreign-symlinks",
        "follow symlinks of others out of their shares",
    ),
    (
        "snapshots=TIME|off",
        "time between automatic snapshots, 4h unless set",
    ),
    ("threads=N", "threads that serve requests, 1 to 64"),
    (
        "ring, no_ring",
        "take requests through io_uring where offered (default), or not",
    ),
    ("verify=first|later", "as with --verify"),
    (
        "deep_idle",
        "let processors sleep deeply while programs use the mount",
    ),
    (
        "control=full|read|off",
        "what the control file lets programs do",
    ),
    (
        "passwordfile=FILE",
        "as with --password-file; an absolute path",
    ),
    (
        "passwordcommand=CMD",
        "as with --password-command; a comma is written \\,",
    ),
    (
        "nosuid, nodev, suid, dev",
        "as in mount(8); the first two are the default",
    ),
    ("noexec, sync, dirsync, noatime", "as in mount(8)"),
    (
        "user, noauto, nofail, x-...",
        "and what else fstab(5) has for mount(8): no effect here",
    ),
];

fn mount_options() -> String {
    let mut text = String::from("Options of -o:\n");
    for (option, meaning) in MOUNT_OPTIONS {
        let _ = writeln!(text, "  {option:<31} {meaning}");
    }
    text
}

#[derive(Debug, Args)]
#[command(after_long_help = mount_options())]
pub(crate) struct MountArgs {
    /// The vault
    pub(crate) vault: PathBuf,
    /// The directory to mount on
    pub(crate) mount_point: PathBuf,
    /// Stay in the foreground
    #[arg(short, long)]
    pub(crate) foreground: bool,
    /// Mount read-only; nothing in the vault is changed
    #[arg(short, long)]
    pub(crate) read_only: bool,
    /// Let other users in, as far as file permissions allow
    #[arg(long)]
    pub(crate) allow_other: bool,
    /// Unmount after this time without use, such as 30m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) idle: Option<Duration>,
    /// When to verify that all metadata is what was committed last; a vault with up to 16 MiB of
    /// it is verified first by itself
    #[arg(long, value_name = "WHEN")]
    pub(crate) verify: Option<VerifyWhen>,
    /// Mount options, separated by commas; see below
    #[arg(short, value_name = "OPTIONS")]
    pub(crate) options: Vec<String>,
    #[command(flatten)]
    pub(crate) unlock: UnlockArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UnmountArgs {
    /// The mount point, or the vault that is mounted
    pub(crate) mount: PathBuf,
    /// Take the mount away at once; programs that use it go on until they close their files
    #[arg(short, long)]
    pub(crate) lazy: bool,
    /// Unmount even if the last changes cannot be made durable
    #[arg(long, conflicts_with = "lazy")]
    pub(crate) force: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PasswdCommand {
    /// List the key slots; needs no password
    List {
        /// The vault
        vault: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add another password, or another recovery key
    Add {
        /// The vault
        vault: PathBuf,
        /// A name for the slot
        #[arg(long, default_value = "password")]
        label: String,
        /// Make a recovery key, which is printed once, instead of setting a password
        #[arg(long, conflicts_with = "new_source")]
        new_recovery_key: bool,
        #[command(flatten)]
        unlock: UnlockArgs,
        #[command(flatten)]
        new: NewPasswordArgs,
    },
    /// Change a password
    Change {
        /// The vault
        vault: PathBuf,
        /// The slot, unless it is the one that the present password opens
        #[arg(long)]
        slot: Option<u32>,
        #[command(flatten)]
        unlock: UnlockArgs,
        #[command(flatten)]
        new: NewPasswordArgs,
    },
    /// Remove a key slot, so that its password no longer opens the vault
    Remove {
        /// The vault
        vault: PathBuf,
        /// The slot, as `passwd list` shows it
        slot: u32,
        #[command(flatten)]
        unlock: UnlockArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum HeaderCommand {
    /// Copy the header of a vault, mounted or not, to a new file
    Backup {
        /// The vault
        vault: PathBuf,
        /// The file to write
        file: PathBuf,
    },
    /// Put a header back into a vault whose own is damaged
    ///
    /// The copies it replaces are kept. Passwords become those of the time of the backup.
    Restore {
        /// The vault
        vault: PathBuf,
        /// The file to read
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The vault, or where it is mounted
    pub(crate) vault: PathBuf,
    /// Read and verify the content of every file too
    #[arg(long)]
    pub(crate) read_data: bool,
    /// Bring back what can be brought back; the vault must not be mounted
    ///
    /// Metadata that cannot be used is replaced by the newest snapshot that is whole. What follows
    /// from the rest, such as counts, is computed anew, and what has lost its name gets one in
    /// lost+found. What was damaged is kept in the vault's directory damaged/. Files with damaged
    /// content are listed and left as they are.
    #[arg(long)]
    pub(crate) repair: bool,
    /// With --repair: go back to this snapshot; what was changed since is lost
    #[arg(long, value_name = "SNAPSHOT", requires = "repair")]
    pub(crate) from: Option<String>,
    /// With --repair: keep metadata that is not that of the last commit
    #[arg(long, requires = "repair", conflicts_with = "from")]
    pub(crate) accept_altered: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) unlock: UnlockArgs,
}

/// How to look into a vault that is not mounted.
#[derive(Debug, Args)]
pub(crate) struct LookArgs {
    /// Show what a snapshot shows
    #[arg(long, value_name = "NAME")]
    pub(crate) snapshot: Option<String>,
    #[command(flatten)]
    pub(crate) unlock: UnlockArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// The vault
    pub(crate) vault: PathBuf,
    /// The file or directory in it
    #[arg(default_value = "/")]
    pub(crate) path: PathBuf,
    /// Show modes, owners, sizes and times
    #[arg(short, long)]
    pub(crate) long: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) look: LookArgs,
}

/// When a mount verifies its metadata.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum VerifyWhen {
    /// Before it can be used
    First,
    /// While it is used
    Later,
}

/// A shell that completions are made for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Elvish,
    Fish,
    Zsh,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "not a time such as 30m, 1h30m or 90s".to_owned())
}

/// The command line with the table of exit codes in its long help.
pub(crate) fn command_line() -> clap::Command {
    CommandLine::command().after_long_help(Exit::table())
}
