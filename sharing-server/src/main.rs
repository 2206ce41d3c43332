//! `keyfold-server`: Keyfold's sharing server.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use data_encoding::HEXLOWER;
use keyfold_protocol::names::UserName;
use keyfold_protocol::wire::{AdminSetUser, Standing};
use keyfold_server::AuditVerdict;
use keyfold_server::config::Config;
use keyfold_server::operation;
use keyfold_server::server::{Server, ServerError};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Keyfold's sharing server: it stores ciphertext and wrapped keys, and can read neither.
#[derive(Debug, Parser)]
#[command(name = "keyfold-server", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the folder of a new server, with a configuration to edit.
    Init {
        /// Where: a folder that is not there or is empty.
        folder: PathBuf,
        /// Address and port to listen on; without TLS a loopback address.
        #[arg(long)]
        listen: Option<std::net::SocketAddr>,
    },
    /// Serve until SIGTERM or SIGINT.
    Serve {
        /// The server's folder.
        folder: PathBuf,
        /// Address and port to listen on, in place of the configured one.
        #[arg(long)]
        listen: Option<std::net::SocketAddr>,
    },
    /// The audit log.
    Audit {
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Copy a server's folder, also while it serves.
    Backup {
        /// The server's folder.
        folder: PathBuf,
        /// Where the copy is made: a folder that is not there.
        target: PathBuf,
    },
    /// Make a server's folder from a backup.
    Restore {
        /// The backup.
        backup: PathBuf,
        /// Where: a folder that is not there.
        folder: PathBuf,
    },
    /// Users.
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Compute every hash again and verify every signature. Ends with 1 if an entry is missing or
    /// not what was written.
    Verify {
        /// The server's folder.
        folder: PathBuf,
    },
    /// Print the public key that heads of the log are verified with, for auditors.
    Key {
        /// The server's folder.
        folder: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// List users.
    List {
        /// The server's folder.
        folder: PathBuf,
    },
    /// Change what a user may do.
    Set {
        /// The server's folder.
        folder: PathBuf,
        /// The user.
        user: UserName,
        /// user, auditor or admin.
        #[arg(long, value_parser = standing)]
        standing: Option<Standing>,
        /// Switch the account off (true) or on (false).
        #[arg(long)]
        disabled: Option<bool>,
        /// Bytes that the user may store.
        #[arg(long)]
        quota: Option<u64>,
    },
}

fn standing(text: &str) -> Result<Standing, String> {
    match text {
        "user" => Ok(Standing::User),
        "auditor" => Ok(Standing::Auditor),
        "admin" => Ok(Standing::Admin),
        _ => Err("user, auditor or admin".into()),
    }
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("KEYFOLD_SERVER_LOG");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // What libraries write is not held to what a log may say here.
    let own = filter_fn(|about| about.target().starts_with(env!("CARGO_CRATE_NAME")));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .finish()
        .with(own)
        .init();
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("keyfold-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, ServerError> {
    match command {
        Command::Init { folder, listen } => {
            let mut config = Config::default();
            if let Some(listen) = listen {
                config.listen = listen;
                config.public_url = format!("http://{listen}");
            }
            operation::init(&folder, &config)?;
            println!(
                "Made {}. Edit server.toml there, then serve it.",
                folder.display()
            );
        }
        Command::Serve { folder, listen } => {
            let mut config = Config::read(&folder)?;
            config.listen = listen.unwrap_or(config.listen);
            serve(Server::open(&folder, config)?)?;
        }
        Command::Audit {
            command: AuditCommand::Verify { folder },
        } => return Ok(report(&operation::verify_audit(&folder)?)),
        Command::Audit {
            command: AuditCommand::Key { folder },
        } => println!(
            "{}",
            HEXLOWER.encode(&operation::audit_public_key(&folder)?)
        ),
        Command::Backup { folder, target } => {
            let blobs = operation::backup(&folder, &target)?;
            println!("Copied the database and {blobs} objects.");
        }
        Command::Restore { backup, folder } => {
            let blobs = operation::restore(&backup, &folder)?;
            println!("Restored the database and {blobs} objects.");
        }
        Command::User { command } => user(command)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn serve(server: Server) -> Result<(), ServerError> {
    let runtime = tokio::runtime::Runtime::new();
    let runtime = runtime.map_err(|error| ServerError::Internal(error.to_string()))?;
    let remote = server.remote();
    runtime.block_on(async {
        let internal = |error: std::io::Error| ServerError::Internal(error.to_string());
        let mut terminate = signal(SignalKind::terminate()).map_err(internal)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(internal)?;
        let ender = remote.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("ending");
            ender.end();
        });
        tokio::spawn(async move {
            if let Some(address) = remote.address().await {
                println!("Listening on {address}");
            }
        });
        server.serve().await
    })
}

fn report(verdict: &AuditVerdict) -> ExitCode {
    match verdict {
        AuditVerdict::Whole { entries, head } => {
            println!(
                "{entries} entries, all as written. Head {}",
                HEXLOWER.encode(head)
            );
            ExitCode::SUCCESS
        }
        AuditVerdict::Broken { number, .. } => {
            println!("Entry {number} is missing or is not what was written.");
            ExitCode::FAILURE
        }
    }
}

fn user(command: UserCommand) -> Result<(), ServerError> {
    match command {
        UserCommand::List { folder } => {
            for user in operation::users(&folder)? {
                let off = if user.disabled { ", switched off" } else { "" };
                let (name, used, quota) = (&user.user, user.used, user.quota);
                println!("{name}: {:?}, {used} of {quota} bytes{off}", user.standing);
            }
            Ok(())
        }
        UserCommand::Set {
            folder,
            user,
            standing,
            disabled,
            quota,
        } => {
            let change = AdminSetUser {
                standing,
                disabled,
                quota,
            };
            operation::set_user(&folder, &user, &change)
        }
    }
}
