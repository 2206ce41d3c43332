//! Going to the background: the program runs itself anew as the serving process and waits until
//! that one has mounted or failed.
//!
//! A fresh process and not a fork, because a fork after threads have started copies locks that
//! nobody will ever release. The secret goes through a pipe, never through arguments or the
//! environment.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::secret::{Kind, SecretText};
use crate::mount::front::FrontError;
use crate::mount::harden;
use crate::mount::options::MountOptions;
use crate::mount::serve::{self, Job, LogTo};

/// The command of the serving process, which is not for people: `serve-mount -- VAULT POINT`.
pub(crate) const COMMAND: &str = "serve-mount";
/// Longest message that is taken from the serving process, in bytes.
const MAX_REPORT: u64 = 1 << 16;
/// Longest orders that are taken, the secret included, in bytes.
const MAX_ORDERS: usize = 1 << 16;

/// What the serving process is told on its standard input, on one line; the secret follows.
#[derive(Serialize, Deserialize)]
struct Orders {
    options: MountOptions,
    kind: KindName,
}

#[derive(Serialize, Deserialize)]
enum KindName {
    Password,
    RecoveryKey,
}

/// What the serving process answers on its standard output, once.
#[derive(Serialize, Deserialize)]
enum Report {
    Mounted,
    Failed { code: u8, message: String },
}

/// Starts the serving process and returns when it has mounted.
pub(crate) fn start(job: &Job) -> Result<(), CliError> {
    let setup = |what| move |source| FrontError::Setup { what, source };
    let mut child = Command::new("/proc/self/exe")
        .arg0("keyfold")
        .arg(COMMAND)
        .arg("--")
        .arg(&job.vault)
        .arg(&job.point)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(setup("starting the serving process"))?;
    // A process that failed before it read its orders says why in its report.
    let _ = give_orders(&mut child, job);
    let mut report = Vec::new();
    if let Some(out) = child.stdout.take() {
        let read = out.take(MAX_REPORT).read_to_end(&mut report);
        read.map_err(setup("waiting for the serving process"))?;
    }
    match serde_json::from_slice(&report) {
        Ok(Report::Mounted) => Ok(()),
        Ok(Report::Failed { code, message }) => {
            let _ = child.wait();
            Err(CliError::Server {
                exit: Exit::from_code(code),
                message,
            })
        }
        Err(_) => {
            let how = child
                .wait()
                .map_or_else(|e| e.to_string(), |status| status.to_string());
            Err(CliError::ServerDied { how })
        }
    }
}

fn give_orders(child: &mut Child, job: &Job) -> io::Result<()> {
    let Some(mut to) = child.stdin.take() else {
        return Ok(());
    };
    let (kind, secret) = job.secret.parts();
    let kind = match kind {
        Kind::Password
        | Kind::NewPassword
        | Kind::AccountPassword
        | Kind::NewAccountPassword
        | Kind::Kit => KindName::Password,
        Kind::RecoveryKey => KindName::RecoveryKey,
    };
    let mut line = serde_json::to_vec(&Orders {
        options: job.options.clone(),
        kind,
    })?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.write_all(secret.as_bytes())
}

/// The serving process: takes its orders, mounts, reports, and serves until the mount ends.
pub(crate) fn run(vault: PathBuf, point: PathBuf) -> Result<(), CliError> {
    let outcome = prepare(vault, point).and_then(|job| serve::serve(job, report_mounted));
    if let Err(e) = &outcome {
        // After the mount was reported nobody listens, and the log has it.
        let report = Report::Failed {
            code: e.exit().code(),
            message: e.to_string(),
        };
        let _ = send(&report);
    }
    outcome
}

fn prepare(vault: PathBuf, point: PathBuf) -> Result<Job, CliError> {
    let setup = |what| move |source| FrontError::Setup { what, source };
    harden::forbid_core_dumps().map_err(|e| setup("forbidding core dumps")(e.into()))?;
    harden::close_inherited().map_err(setup("closing files"))?;
    // Leaves the terminal, so that closing it does not end the mount.
    nix::unistd::setsid().map_err(|e| setup("leaving the terminal")(e.into()))?;
    let (orders, secret) = take_orders().map_err(setup("taking orders"))?;
    let kind = match orders.kind {
        KindName::Password => Kind::Password,
        KindName::RecoveryKey => Kind::RecoveryKey,
    };
    let secret = SecretText::from_parts(kind, secret);
    Ok(Job {
        vault,
        point,
        options: orders.options,
        secret,
        log: LogTo::File,
    })
}

fn take_orders() -> io::Result<(Orders, Zeroizing<String>)> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    // Read from the descriptor itself and into a buffer that never grows, so that no copy of the
    // secret stays behind.
    let mut text = Zeroizing::new(vec![0; MAX_ORDERS]);
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut filled = 0;
    loop {
        match input.read(&mut text[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    text.truncate(filled);
    let end = text
        .iter()
        .position(|&b| b == b'\n')
        .ok_or_else(|| invalid("this command is for Keyfold itself".to_owned()))?;
    let orders = serde_json::from_slice(&text[..end]).map_err(|e| invalid(e.to_string()))?;
    let secret = std::str::from_utf8(&text[end + 1..]).map_err(|e| invalid(e.to_string()))?;
    Ok((orders, Zeroizing::new(secret.to_owned())))
}

/// Reports and lets go of the caller's terminal and pipes, in an order in which a caller who has
/// read the report holds none of ours open.
fn report_mounted() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    send(&Report::Mounted)?;
    nix::unistd::dup2_stdout(&null)?;
    Ok(())
}

fn send(report: &Report) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, report)?;
    out.flush()
}
