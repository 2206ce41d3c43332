//! Repairing a vault that is not mounted: what can be brought back is, the rest is moved aside or
//! left as it is, and nothing is made worse.
//!
//! A database that cannot be used is replaced by the newest kept image that is whole; the damaged
//! one goes to `damaged/`. In one that can be used, what follows from other rows is computed anew:
//! counts, live slots, owners. Rows that are not those of the last commit are not mended unless
//! that is asked for: to write their hash would be to vouch for them.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::check::{self, CheckOptions, CheckReport, Finding, Progress, ReadData, Unusable};
use crate::error::FsError;
use crate::layout::ImageRow;
use crate::vault::{Access, UnlockedVault};
use crate::volume::{Volume, VolumeError, VolumeOptions};

mod aside;
mod contents;
mod mend;
mod namespace;
mod restore;
mod segments;
mod single;

use aside::Aside;
use mend::Mend;

/// How often rows are mended: each time may show what was hidden before.
const ROUNDS: usize = 4;

/// What a repair may do.
#[derive(Debug, Clone, Default)]
pub struct RepairOptions {
    /// Goes back to the image of this name, whatever state the database is in.
    pub from: Option<String>,
    /// Takes rows that are not those of the last commit for good.
    pub altered: Altered,
    /// Whether every block is read afterwards.
    pub read_data: ReadData,
}

/// What becomes of rows that somebody altered, or that are older than the last commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Altered {
    /// They stay as they are, and the volume is not mended.
    #[default]
    Refuse,
    /// They are taken for good.
    Accept,
}

/// What a repair did, and what is wrong still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairReport {
    /// The image that took the place of the database.
    pub restored: Option<Restored>,
    /// What was mended. Kind and words tell what was wrong.
    pub mended: Vec<Finding>,
    /// How many things were mended beside those that are listed.
    pub more: u64,
    /// Where what was damaged is kept.
    pub aside: Option<PathBuf>,
    /// What a check says now.
    pub check: CheckReport,
}

/// An image that took the place of the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Its name.
    pub name: String,
    /// When it was made, in seconds since 1970: what was changed since is lost.
    pub created: i64,
    /// The commit that it shows.
    pub commit: u64,
}

impl Restored {
    fn of(row: &ImageRow) -> Self {
        Self {
            name: row.name.clone(),
            created: row.created.secs,
            commit: row.commit,
        }
    }
}

/// Why nothing was repaired. Nothing was changed, but for what was copied aside.
#[derive(Debug)]
pub enum RepairError {
    /// The database cannot be used, and no image is whole.
    NoImage {
        /// What is wrong with the database.
        why: String,
    },
    /// There is no such image, or it is not whole.
    NotThisImage {
        /// Its name.
        name: String,
        /// Those that are whole.
        whole: Vec<String>,
    },
    /// Rows are not those of the last commit, and nobody asked to accept them.
    Altered {
        /// Images that could be gone back to.
        whole: Vec<String>,
    },
    /// The volume cannot be opened for another reason.
    Volume(VolumeError),
    /// The operating system refused.
    Io(io::Error),
    /// The volume's rows cannot be read or written.
    Rows(FsError),
}

impl fmt::Display for RepairError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoImage { why } => write!(
                f,
                "{why}, and there is no snapshot that could take its place. Nothing was changed; \
                 restore the vault from a backup"
            ),
            Self::NotThisImage { name, whole } => write!(
                f,
                "there is no whole snapshot {name:?}. There is {}",
                listed(whole)
            ),
            Self::Altered { whole } => write!(
                f,
                "the metadata is not that of the last commit: some of it was altered, or is older, \
                 as when a vault was copied while it was mounted. Nothing was changed. Go back to \
                 a snapshot with --from NAME (there is {}), or keep what is there with \
                 --accept-altered",
                listed(whole)
            ),
            Self::Volume(e) => e.fmt(f),
            Self::Io(e) => e.fmt(f),
            Self::Rows(e) => write!(f, "the metadata cannot be repaired: {e}"),
        }
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

impl std::error::Error for RepairError {}

impl From<VolumeError> for RepairError {
    fn from(e: VolumeError) -> Self {
        Self::Volume(e)
    }
}

impl From<io::Error> for RepairError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

impl From<FsError> for RepairError {
    fn from(e: FsError) -> Self {
        Self::Rows(e)
    }
}

/// Repairs the vault.
///
/// # Errors
/// When it cannot be repaired without being told more, or at all.
pub fn repair(
    vault: UnlockedVault,
    options: &RepairOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<RepairReport, RepairError> {
    let mut run = Run {
        vault: Arc::new(vault),
        aside: Aside::default(),
        restored: None,
        mended: Vec::new(),
        more: 0,
    };
    run.database(options, progress)?;
    run.mend(options, progress)?;
    let volume = run.open()?;
    let wanted = CheckOptions {
        read_data: options.read_data,
    };
    Ok(RepairReport {
        restored: run.restored,
        mended: run.mended,
        more: run.more,
        aside: run.aside.path().cloned(),
        check: check::check(&volume, &wanted, progress)?,
    })
}

/// A repair under way.
struct Run {
    vault: Arc<UnlockedVault>,
    aside: Aside,
    restored: Option<Restored>,
    mended: Vec<Finding>,
    more: u64,
}

impl Run {
    fn open(&self) -> Result<Arc<Volume>, VolumeError> {
        Volume::open_shared(
            (Arc::clone(&self.vault), Access::ReadOnly),
            VolumeOptions::unverified(),
        )
    }

    /// Sees to it that there is a database that can be used.
    fn database(
        &mut self,
        options: &RepairOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), RepairError> {
        let why = match (&options.from, self.judge(progress)?) {
            (Some(name), _) => {
                let images = restore::find(&self.vault, progress)?;
                let chosen = images.iter().position(|i| i.row.name == *name);
                let chosen = chosen.ok_or_else(|| RepairError::NotThisImage {
                    name: name.clone(),
                    whole: restore::names(&images),
                })?;
                return self.restore((images, chosen));
            }
            (None, Verdict::Unusable(why)) => why,
            (None, Verdict::Altered) if options.altered == Altered::Refuse => {
                let whole = restore::names(&restore::find(&self.vault, progress)?);
                return Err(RepairError::Altered { whole });
            }
            (None, Verdict::Altered | Verdict::Usable) => return Ok(()),
        };
        let images = restore::find(&self.vault, progress)?;
        if images.is_empty() {
            return Err(RepairError::NoImage { why });
        }
        self.restore((images, 0))
    }

    fn judge(&self, progress: &mut dyn FnMut(Progress)) -> Result<Verdict, RepairError> {
        let volume = match self.open() {
            Ok(volume) => volume,
            Err(
                e @ (VolumeError::DatabaseMissing(_)
                | VolumeError::DatabaseDamaged { .. }
                | VolumeError::DatabaseFailed { .. }),
            ) => {
                let why = match e {
                    VolumeError::DatabaseMissing(_) => "the metadata database is missing",
                    _ => "the metadata database is damaged",
                };
                return Ok(Verdict::Unusable(why.to_owned()));
            }
            Err(e) => return Err(e.into()),
        };
        let report = check::check(&volume, &CheckOptions::default(), progress)?;
        Ok(match report.unusable() {
            Some(Unusable::Unreadable) => {
                Verdict::Unusable("the metadata database is damaged".to_owned())
            }
            Some(Unusable::Altered) => Verdict::Altered,
            None => Verdict::Usable,
        })
    }

    fn restore(
        &mut self,
        (images, chosen): (Vec<restore::Image>, usize),
    ) -> Result<(), RepairError> {
        restore::put_back(&self.vault, (&images, chosen), &mut self.aside)?;
        self.restored = Some(Restored::of(&images[chosen].row));
        Ok(())
    }

    /// Mends rows until nothing more can be mended.
    fn mend(
        &mut self,
        options: &RepairOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), RepairError> {
        Volume::settle_database(&self.vault)?;
        for _ in 0..ROUNDS {
            let volume = self.open()?;
            let report = check::check(&volume, &CheckOptions::default(), progress)?;
            if report.findings.is_empty() {
                return Ok(());
            }
            let mut mend = Mend::new(&volume, &report, options.altered)?;
            mend.namespace()?;
            mend.single_files()?;
            mend.contents()?;
            mend.segment_files(&self.vault)?;
            mend.images(&self.vault, &mut self.aside)?;
            let plan = mend.finish();
            drop(volume);
            if !plan.changes_anything() {
                return Ok(());
            }
            self.more += plan.more;
            self.mended.extend(plan.mended.iter().cloned());
            plan.write(&self.vault)?;
        }
        Ok(())
    }
}

/// What can be done with a database.
enum Verdict {
    Usable,
    /// Its rows are not those of the last commit.
    Altered,
    /// Says why.
    Unusable(String),
}
