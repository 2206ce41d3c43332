//! `cat`, `get` and `export`: content of a vault that is not mounted.
//!
//! Content comes from `Engine::read_reference`, the way of reading that is kept apart from what a
//! mount uses.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use keyfold_fs::export::{self, Event, Measure, Report, Source};
use keyfold_fs::vfs::{FileKind, FileRange, Ino, OpenMode};
use keyfold_fs::volume::{Verification, Verify};

use crate::cli::args::LookArgs;
use crate::cli::error::CliError;
use crate::cli::inside::{self, Found};
use crate::cli::mounting::progress_is_seen;
use crate::cli::output::{self, Form};
use crate::engine::Engine;

/// Bytes printed at a time.
const CHUNK: usize = 1 << 20;

/// What is to be taken from which vault to where.
pub(crate) struct Wanted<'a> {
    pub(crate) vault: &'a Path,
    pub(crate) path: &'a Path,
    pub(crate) dest: &'a Path,
}

/// Prints a file.
pub(crate) fn cat(vault: &Path, path: &Path, look: &LookArgs) -> Result<(), CliError> {
    let engine = inside::look(vault, look, Verify::BySize)?;
    let vfs = engine.vfs();
    let wrong = |error| CliError::Inside {
        path: path.to_path_buf(),
        error,
    };
    let found = Found::find(&*vfs, path)?;
    found.require(FileKind::Regular, path)?;
    let ino = found.ino();
    let handle = vfs
        .open(
            ino,
            OpenMode {
                read: true,
                ..OpenMode::default()
            },
        )
        .map_err(wrong)?;
    let printed = print(
        &engine,
        FileRange {
            ino,
            handle,
            offset: 0,
        },
        wrong,
    );
    vfs.release(ino, handle);
    printed
}

fn print(
    engine: &Engine,
    mut at: FileRange,
    wrong: impl Fn(keyfold_fs::error::FsError) -> CliError,
) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    let mut chunk = vec![0; CHUNK];
    loop {
        let got = engine.read_reference(at, &mut chunk).map_err(&wrong)?;
        if got == 0 {
            return out.flush().map_err(CliError::Output);
        }
        out.write_all(&chunk[..got]).map_err(CliError::Output)?;
        at.offset += got as u64;
    }
}

/// Copies a file or directory out of a vault.
pub(crate) fn get(wanted: &Wanted<'_>, look: &LookArgs, form: Form) -> Result<(), CliError> {
    let engine = inside::look(wanted.vault, look, Verify::BySize)?;
    let vfs = engine.vfs();
    let found = Found::find(&*vfs, wanted.path)?;
    let to = match wanted.path.file_name() {
        Some(name) if wanted.dest.is_dir() => wanted.dest.join(name),
        _ => absolute(wanted.dest)?,
    };
    extract(&engine, found.ino(), &to, form)
}

/// Decrypts a whole vault.
pub(crate) fn export(
    vault: &Path,
    dest: &Path,
    look: &LookArgs,
    form: Form,
) -> Result<(), CliError> {
    let dest = absolute(dest)?;
    let engine = inside::look(vault, look, Verify::Later)?;
    let extracted = extract(&engine, Ino::ROOT, &dest, form);
    // What can be saved is saved first; that it may not be all, or not the newest, is told then.
    if engine.verified() == Verification::Damaged {
        return Err(CliError::NotAsCommitted);
    }
    extracted
}

/// An absolute path with a last component, which `.` and `dir/..` lack.
fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    let whole = std::path::absolute(path).and_then(|whole| match whole.file_name() {
        Some(_) => Ok(whole),
        None => std::fs::canonicalize(whole),
    });
    whole.map_err(|source| CliError::File {
        verb: "find",
        path: path.to_path_buf(),
        source,
    })
}

fn extract(engine: &Engine, from: Ino, to: &Path, form: Form) -> Result<(), CliError> {
    let vfs = engine.vfs();
    let progress = Progress::start(|| export::measure(&*vfs, from).unwrap_or_default());
    let source = Source {
        vfs: &*vfs,
        read: &mut |at, buf| engine.read_reference(at, buf),
    };
    let done = export::export(source, from, to, &mut |event| progress.tell(&event));
    progress.end();
    let report = done?;
    match form {
        Form::Json => output::json(&report)?,
        Form::Text => output::text(&summary(&report, to))?,
    }
    if report.left_out > 0 {
        return Err(CliError::LeftOut {
            items: report.left_out,
        });
    }
    Ok(())
}

fn summary(report: &Report, to: &Path) -> String {
    let unchanged = match report.unchanged {
        0 => String::new(),
        n => format!(", {n} complete already"),
    };
    format!(
        "Wrote {} files ({} bytes) and {} directories and links to {}{unchanged}.\n",
        report.files,
        report.bytes,
        report.others,
        to.display()
    )
}

/// Progress on standard error, where that is a terminal.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn start(size: impl FnOnce() -> Measure) -> Self {
        if !progress_is_seen() {
            return Self {
                bar: ProgressBar::hidden(),
            };
        }
        let style = ProgressStyle::with_template(
            "{bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} left",
        );
        let bar = ProgressBar::new(size().bytes);
        Self {
            bar: bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())),
        }
    }

    fn tell(&self, event: &Event<'_>) {
        match event {
            Event::Begin(_) => {}
            Event::Written(bytes) | Event::Present(bytes) => self.bar.inc(*bytes),
            Event::LeftOut(path, omission) => {
                let path = if path.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    path
                };
                self.bar
                    .suspend(|| eprintln!("keyfold: {}: {omission}", path.display()));
            }
        }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
