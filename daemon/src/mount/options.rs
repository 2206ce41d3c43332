//! Mount options: the words of `-o`, of `/etc/fstab` and of `mount(8)`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use keyfold_fs::vault::Rollback;
use keyfold_fs::volume::Verify;
use serde::{Deserialize, Serialize};

use crate::cli::secret::Source;
use crate::mount::point::Cover;

/// Smallest bound on dirty memory, in bytes.
pub(crate) const MIN_DIRTY: u64 = 4 << 20;
/// Largest bound on dirty memory, in bytes.
pub(crate) const MAX_DIRTY: u64 = 64 << 30;
/// Largest bound on what is kept of shares, in bytes.
const MAX_CACHE: u64 = 1 << 50;
/// Time between automatic snapshots, unless another is asked for.
const SNAPSHOT_INTERVAL: Duration = Duration::from_hours(4);
/// Most threads that serve requests.
pub(crate) const MAX_THREADS: usize = 64;

/// Whether a mount can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MountAccess {
    /// Reading and writing.
    ReadWrite,
    /// Reading only; nothing in the vault changes either.
    ReadOnly,
}

/// Who can reach the mount, before file permissions are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Audience {
    /// The user who mounts.
    Owner,
    /// Every user.
    Everyone,
}

/// What the control directory lets programs do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ControlAccess {
    /// Every command.
    Full,
    /// Only commands that change nothing.
    Read,
    /// No command.
    Off,
}

/// A flag that the kernel enforces for the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum KernelFlag {
    Suid,
    NoSuid,
    Dev,
    NoDev,
    Exec,
    NoExec,
    Sync,
    DirSync,
    NoAtime,
}

/// How deeply processors may sleep while programs work in the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CpuIdle {
    /// Shallowly during bursts of requests, where the kernel takes the wish from this user.
    Shallow,
    /// As they like.
    Deep,
}

/// Whether requests come through `io_uring`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RingUse {
    /// Where the kernel offers it.
    WhereOffered,
    /// Nowhere.
    Never,
}

/// Whether symlinks that others made are followed out of their share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ForeignSymlinks {
    /// They are refused.
    Refused,
    /// They lead where they lead.
    Followed,
}

/// How a vault is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountOptions {
    pub(crate) access: MountAccess,
    pub(crate) audience: Audience,
    pub(crate) control: ControlAccess,
    pub(crate) cover: Cover,
    /// Time without a request after which the mount ends by itself.
    pub(crate) idle: Option<Duration>,
    /// Bound on data not yet written to the vault, in bytes.
    pub(crate) dirty_limit: Option<u64>,
    /// Bytes that what shares have at their server may take here, too.
    pub(crate) cache_limit: Option<u64>,
    /// Time between automatic snapshots, if any are to be made.
    pub(crate) snapshot_interval: Option<Duration>,
    /// Threads that serve requests.
    pub(crate) threads: Option<usize>,
    pub(crate) cpu_idle: CpuIdle,
    pub(crate) ring: RingUse,
    pub(crate) foreign_symlinks: ForeignSymlinks,
    /// What to do about a vault that is not as it was last seen. No word of `-o` accepts one.
    pub(crate) rollback: Rollback,
    /// When the metadata is verified.
    pub(crate) verify: Verify,
    /// Later flags replace earlier ones that contradict them.
    pub(crate) flags: Vec<KernelFlag>,
    /// Where the password comes from, when the options say so.
    #[serde(skip)]
    pub(crate) source: Option<Source>,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            access: MountAccess::ReadWrite,
            audience: Audience::Owner,
            control: ControlAccess::Full,
            cover: Cover::EmptyOnly,
            idle: None,
            dirty_limit: None,
            cache_limit: None,
            snapshot_interval: Some(SNAPSHOT_INTERVAL),
            threads: None,
            cpu_idle: CpuIdle::Shallow,
            ring: RingUse::WhereOffered,
            foreign_symlinks: ForeignSymlinks::Refused,
            rollback: Rollback::default(),
            verify: Verify::default(),
            flags: Vec::new(),
            source: None,
        }
    }
}

/// What is wrong with a mount option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OptionError {
    /// No such option.
    Unknown(String),
    /// The option needs a value, or takes none.
    Value(String),
    /// The value makes no sense for the option; carries what would.
    BadValue {
        /// The option with its value.
        option: String,
        /// What is allowed.
        expected: &'static str,
    },
}

impl MountOptions {
    /// Applies a comma-separated list; `\,` stands for a comma within a value.
    pub(crate) fn apply_list(&mut self, list: &str) -> Result<(), OptionError> {
        split_list(list)
            .iter()
            .try_for_each(|option| self.apply(option))
    }

    fn apply(&mut self, option: &str) -> Result<(), OptionError> {
        match option.split_once('=') {
            Some((name, value)) => self.apply_value(option, name, value),
            None => self.apply_word(option),
        }
    }

    fn apply_word(&mut self, word: &str) -> Result<(), OptionError> {
        match word {
            "ro" => self.access = MountAccess::ReadOnly,
            "rw" => self.access = MountAccess::ReadWrite,
            "allow_other" => self.audience = Audience::Everyone,
            "deep_idle" => self.cpu_idle = CpuIdle::Deep,
            "ring" => self.ring = RingUse::WhereOffered,
            "no_ring" => self.ring = RingUse::Never,
            "nonempty" => self.cover = Cover::Anything,
            "foreign-symlinks" => self.foreign_symlinks = ForeignSymlinks::Followed,
            "suid" => self.flag(KernelFlag::Suid),
            "nosuid" => self.flag(KernelFlag::NoSuid),
            "dev" => self.flag(KernelFlag::Dev),
            "nodev" => self.flag(KernelFlag::NoDev),
            "exec" => self.flag(KernelFlag::Exec),
            "noexec" => self.flag(KernelFlag::NoExec),
            "sync" => self.flag(KernelFlag::Sync),
            "dirsync" => self.flag(KernelFlag::DirSync),
            "noatime" => self.flag(KernelFlag::NoAtime),
            "idle" | "dirty" | "cache" | "threads" | "verify" | "control" | "snapshots"
            | "passwordfile" | "passwordcommand" => {
                return Err(OptionError::Value(word.to_owned()));
            }
            word if is_for_mount(word) => {}
            _ => return Err(OptionError::Unknown(word.to_owned())),
        }
        Ok(())
    }

    fn apply_value(&mut self, option: &str, name: &str, value: &str) -> Result<(), OptionError> {
        let bad = |expected| OptionError::BadValue {
            option: option.to_owned(),
            expected,
        };
        match name {
            "idle" => {
                let idle = parse_duration(value).ok_or_else(|| bad("a time such as 30m"))?;
                self.idle = Some(idle);
            }
            "dirty" => {
                let limit = parse_size(value).filter(|n| (MIN_DIRTY..=MAX_DIRTY).contains(n));
                self.dirty_limit = Some(limit.ok_or_else(|| bad("a size from 4M to 64G"))?);
            }
            "cache" => {
                let limit = parse_size(value).filter(|n| *n <= MAX_CACHE);
                self.cache_limit = Some(limit.ok_or_else(|| bad("a size such as 10G"))?);
            }
            "snapshots" if value == "off" => self.snapshot_interval = None,
            "snapshots" => {
                let interval = parse_duration(value);
                self.snapshot_interval = Some(interval.ok_or_else(|| bad("a time, or off"))?);
            }
            "threads" => {
                let threads = value.parse().ok().filter(|n| (1..=MAX_THREADS).contains(n));
                self.threads = Some(threads.ok_or_else(|| bad("a number from 1 to 64"))?);
            }
            "verify" => {
                self.verify = match value {
                    "first" => Verify::First,
                    "later" => Verify::Later,
                    _ => return Err(bad("first or later")),
                };
            }
            "control" => {
                self.control = match value {
                    "full" => ControlAccess::Full,
                    "read" => ControlAccess::Read,
                    "off" => ControlAccess::Off,
                    _ => return Err(bad("full, read or off")),
                };
            }
            "passwordfile" if value.starts_with('/') => {
                self.source = Some(Source::File(PathBuf::from(value)));
            }
            "passwordfile" => return Err(bad("an absolute path")),
            "passwordcommand" if !value.is_empty() => {
                self.source = Some(Source::Command(value.to_owned()));
            }
            "passwordcommand" => return Err(bad("a command")),
            "ro" | "rw" | "allow_other" | "nonempty" | "foreign-symlinks" => {
                return Err(OptionError::Value(name.to_owned()));
            }
            name if name.starts_with("x-") || name.starts_with("X-") || name == "comment" => {}
            _ => return Err(OptionError::Unknown(name.to_owned())),
        }
        Ok(())
    }

    fn flag(&mut self, flag: KernelFlag) {
        self.flags.retain(|&f| f != flag && f != flag.opposite());
        self.flags.push(flag);
    }
}

/// Options that mount(8) and fstab(5) deal with, or that are in force anyway.
fn is_for_mount(word: &str) -> bool {
    matches!(
        word,
        "" | "defaults"
            | "auto"
            | "noauto"
            | "user"
            | "nouser"
            | "users"
            | "owner"
            | "group"
            | "_netdev"
            | "nofail"
            | "async"
            | "atime"
            | "relatime"
            | "norelatime"
            | "strictatime"
            | "nostrictatime"
            | "diratime"
            | "nodiratime"
            | "lazytime"
            | "nolazytime"
            | "default_permissions"
    ) || word.starts_with("x-")
        || word.starts_with("X-")
}

impl KernelFlag {
    /// The option as mount(8) spells it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Suid => "suid",
            Self::NoSuid => "nosuid",
            Self::Dev => "dev",
            Self::NoDev => "nodev",
            Self::Exec => "exec",
            Self::NoExec => "noexec",
            Self::Sync => "sync",
            Self::DirSync => "dirsync",
            Self::NoAtime => "noatime",
        }
    }

    fn opposite(self) -> Self {
        match self {
            Self::Suid => Self::NoSuid,
            Self::NoSuid => Self::Suid,
            Self::Dev => Self::NoDev,
            Self::NoDev => Self::Dev,
            Self::Exec => Self::NoExec,
            Self::NoExec => Self::Exec,
            Self::Sync | Self::DirSync | Self::NoAtime => self,
        }
    }
}

fn split_list(list: &str) -> Vec<String> {
    let mut options = vec![String::new()];
    let mut chars = list.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(&next @ (',' | '\\'))) => {
                chars.next();
                push(&mut options, next);
            }
            (',', _) => options.push(String::new()),
            _ => push(&mut options, c),
        }
    }
    options
}

fn push(options: &mut [String], c: char) {
    if let Some(last) = options.last_mut() {
        last.push(c);
    }
}

/// Parses a time such as `90`, `45s`, `30m`, `1h30m` or `2d`; a bare number counts seconds.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let count: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let mut unit = rest.chars();
        let seconds = match unit.next() {
            None if total.is_zero() => 1,
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            _ => return None,
        };
        rest = unit.as_str();
        total = total.checked_add(Duration::from_secs(count.checked_mul(seconds)?))?;
    }
    (total >= Duration::from_secs(1) && total <= Duration::from_hours(366 * 24)).then_some(total)
}

/// Parses a size in bytes, with `K`, `M` or `G` for powers of 1024.
fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = match text.char_indices().next_back()? {
        (at, 'k' | 'K') => (&text[..at], 1 << 10),
        (at, 'm' | 'M') => (&text[..at], 1 << 20),
        (at, 'g' | 'G') => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(option) => write!(
                f,
                "unknown mount option {option:?}. `keyfold help mount` lists what there is"
            ),
            Self::Value(option) => write!(
                f,
                "mount option {option:?} is given with a value it does not take, or without one \
                 it needs. `keyfold help mount` lists what there is"
            ),
            Self::BadValue { option, expected } => {
                write!(f, "mount option {option:?} needs {expected}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &str) -> Result<MountOptions, OptionError> {
        let mut options = MountOptions::default();
        options.apply_list(list).map(|()| options)
    }

    #[test]
    fn what_fstab_and_mount_pass_along_is_accepted() {
        let options = parse(
            "rw,user,noauto,nofail,_netdev,relatime,x-systemd.automount,x-gvfs-name=My%20Vault,\
             comment=mine,defaults,nosuid,nodev,",
        )
        .unwrap();
        assert_eq!(options.flags, [KernelFlag::NoSuid, KernelFlag::NoDev]);
        assert_eq!(options.access, MountAccess::ReadWrite);
    }

    #[test]
    fn every_option_of_ours_takes_effect() {
        let options = parse(
            "ro,allow_other,nonempty,idle=1h30m,dirty=64M,snapshots=1h,threads=3,deep_idle,no_ring,foreign-symlinks,\
             control=read,\
             passwordcommand=pass show a\\,b",
        )
        .unwrap();
        assert_eq!(options.access, MountAccess::ReadOnly);
        assert_eq!(options.audience, Audience::Everyone);
        assert_eq!(options.cover, Cover::Anything);
        assert_eq!(options.idle, Some(Duration::from_mins(90)));
        assert_eq!(options.dirty_limit, Some(64 << 20));
        assert_eq!(options.snapshot_interval, Some(Duration::from_hours(1)));
        assert_eq!(options.threads, Some(3));
        assert_eq!(options.cpu_idle, CpuIdle::Deep);
        assert_eq!(options.ring, RingUse::Never);
        assert_eq!(options.foreign_symlinks, ForeignSymlinks::Followed);
        assert_eq!(options.control, ControlAccess::Read);
        assert_eq!(
            options.source,
            Some(Source::Command("pass show a,b".to_owned()))
        );
    }

    #[test]
    fn a_later_option_replaces_an_earlier_one() {
        let options = parse("nosuid,ro,no_ring,suid,rw,ring,snapshots=1h,snapshots=off").unwrap();
        assert_eq!(options.ring, RingUse::WhereOffered);
        assert_eq!(options.snapshot_interval, None);
        assert_eq!(options.flags, [KernelFlag::Suid]);
        assert_eq!(options.access, MountAccess::ReadWrite);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        assert_eq!(
            parse("bogus"),
            Err(OptionError::Unknown("bogus".to_owned()))
        );
        assert_eq!(parse("uid=1"), Err(OptionError::Unknown("uid".to_owned())));
        assert_eq!(parse("idle"), Err(OptionError::Value("idle".to_owned())));
        assert_eq!(parse("ro=1"), Err(OptionError::Value("ro".to_owned())));
        for bad in [
            "idle=",
            "idle=0",
            "idle=m",
            "idle=5x",
            "idle=1h5",
            "idle=99999999999999999999",
            "dirty=1K",
            "dirty=x",
            "snapshots=on",
            "snapshots=0",
            "threads=0",
            "threads=65",
            "control=all",
            "passwordfile=relative",
            "passwordcommand=",
        ] {
            assert!(
                matches!(parse(bad), Err(OptionError::BadValue { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn times_are_read_in_the_usual_units() {
        let seconds = |text| parse_duration(text).map(|d| d.as_secs());
        assert_eq!(seconds("90"), Some(90));
        assert_eq!(seconds("45s"), Some(45));
        assert_eq!(seconds("30m"), Some(1800));
        assert_eq!(seconds("1d2h"), Some(93_600));
        assert_eq!(seconds(""), None);
        assert_eq!(seconds("-5m"), None);
    }
}
