//! A running server.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use keyfold_protocol::ids::Time;
use zeroize::Zeroizing;

use crate::app::{App, Parts};
use crate::blobs::Objects;
use crate::clock::Clock;
use crate::config::Config;
use crate::connection;
use crate::db::{Db, DbError, blobs as rows};
use crate::http;
use crate::mail::Mail;
use crate::service::audit::AuditKey;
use crate::service::{Failure, Outcome, Pepper, Rules, housekeeping};

/// How long requests may take to end after the server was asked to.
const GRACE: Duration = Duration::from_secs(10);
/// How often what is over is looked for.
const SWEEP: Duration = Duration::from_mins(5);
/// Objects that nothing names are looked for each time this was done so often.
const STRAYS: u64 = 288;
/// Seconds after which an object that nothing names is named by nothing any more.
const STRAY: u64 = 24 * 3600;

/// Names of what is in a server's folder.
pub(crate) const DATABASE: &str = "server.db";
pub(crate) const BLOBS: &str = "blobs";
pub(crate) const PEPPER: &str = "pepper";
pub(crate) const AUDIT_KEY: &str = "audit-key";
pub(crate) const CONFIG: &str = "server.toml";

/// Why a server or a command on its folder failed.
#[derive(Debug)]
pub enum ServerError {
    /// A file could not be read or written.
    File(PathBuf, std::io::Error),
    /// The configuration is not usable.
    Config(String),
    /// The database failed.
    Database(DbError),
    /// Something else than files and database failed.
    Internal(String),
    /// It could not listen.
    Listen(SocketAddr, std::io::Error),
    /// There is something already where something new was to be.
    Exists(PathBuf),
    /// There is no such user.
    NoSuchUser,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Config(why) => write!(f, "server.toml: {why}"),
            Self::Database(error) => error.fmt(f),
            Self::Internal(why) => f.write_str(why),
            Self::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Exists(path) => write!(f, "{} is there already", path.display()),
            Self::NoSuchUser => f.write_str("there is no such user"),
        }
    }
}

impl std::error::Error for ServerError {}

impl From<DbError> for ServerError {
    fn from(error: DbError) -> Self {
        Self::Database(error)
    }
}

impl From<Failure> for ServerError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(reply) if reply.code.status() == 404 => Self::NoSuchUser,
            other => Self::Internal(other.to_string()),
        }
    }
}

/// A server that is open and not listening yet.
pub struct Server {
    app: App,
    config: Config,
    handle: Handle<SocketAddr>,
}

/// Ends a server from elsewhere, and says where it listens.
#[derive(Clone)]
pub struct Remote {
    app: App,
    handle: Handle<SocketAddr>,
}

impl Server {
    /// Opens the folder of a server.
    pub fn open(folder: &Path, config: Config) -> Result<Self, ServerError> {
        Self::open_at(folder, config, Clock::default())
    }

    /// The same, with a clock that may be set ahead.
    pub fn open_at(folder: &Path, config: Config, clock: Clock) -> Result<Self, ServerError> {
        config.check()?;
        let rules = Rules {
            pepper: read_pepper(folder)?,
            open_registration: config.open_registration,
            verify_email: config.verify_email,
            quota: config.quota,
            registrations: config.registrations_per_hour,
            failed_logins: config.failed_logins,
            public_url: config.public_url.clone(),
            audit_key: audit_key(folder)?,
        };
        let parts = Parts {
            db: Db::open(&folder.join(DATABASE))?,
            objects: Objects::in_folder(&folder.join(BLOBS))?,
            mail: Mail::open(&config)?,
            rules,
            clock,
        };
        let app = App::new(parts, &config);
        Ok(Self {
            app,
            config,
            handle: Handle::new(),
        })
    }

    pub(crate) fn rules(&self) -> std::sync::Arc<Rules> {
        std::sync::Arc::clone(&self.app.rules)
    }

    pub(crate) fn db(&self) -> &Db {
        &self.app.db
    }

    /// What ends the server.
    pub fn remote(&self) -> Remote {
        Remote {
            app: self.app.clone(),
            handle: self.handle.clone(),
        }
    }

    /// Serves until the server is ended.
    pub async fn serve(self) -> Result<(), ServerError> {
        let sweeper = tokio::spawn(sweep_now_and_then(self.app.clone()));
        let routes = http::router(self.app.clone());
        let service = routes.into_make_service_with_connect_info::<SocketAddr>();
        let address = self.config.listen;
        let cap = self.app.connections.clone();
        let plain = axum_server::bind(address).handle(self.handle);
        let served = if let Some(tls) = tls(&self.config).await? {
            let secured = plain.map(|_| RustlsAcceptor::new(tls));
            let limited = connection::limit(secured, &self.config, &cap);
            limited.serve(service).await
        } else {
            let limited = connection::limit(plain, &self.config, &cap);
            limited.serve(service).await
        };
        sweeper.abort();
        served.map_err(|error| ServerError::Listen(address, error))
    }
}

impl Remote {
    /// Lets requests that are under way end, and then the server.
    pub fn end(&self) {
        self.app.ending.begin();
        self.handle.graceful_shutdown(Some(GRACE));
    }

    /// Where the server listens, once it does. None if it could not.
    pub async fn address(&self) -> Option<SocketAddr> {
        self.handle.listening().await
    }
}

async fn tls(config: &Config) -> Result<Option<RustlsConfig>, ServerError> {
    let (Some(certificate), Some(key)) = (&config.tls_certificate, &config.tls_key) else {
        return Ok(None);
    };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    // Whoever was first installed the same one.
    let _already = provider.install_default();
    let loaded = RustlsConfig::from_pem_file(certificate, key).await;
    loaded
        .map(Some)
        .map_err(|error| ServerError::File(certificate.clone(), error))
}

fn read_pepper(folder: &Path) -> Result<Pepper, ServerError> {
    read_secret(&folder.join(PEPPER)).map(Pepper)
}

/// The audit key of the server in a folder.
pub(crate) fn audit_key(folder: &Path) -> Result<AuditKey, ServerError> {
    let seed = read_secret(&folder.join(AUDIT_KEY))?;
    Ok(AuditKey::from_bytes(&seed))
}

fn read_secret(path: &Path) -> Result<Zeroizing<[u8; 32]>, ServerError> {
    let bytes = std::fs::read(path).map_err(|error| ServerError::File(path.to_owned(), error))?;
    let bytes = Zeroizing::new(bytes);
    let secret: [u8; 32] = bytes[..]
        .try_into()
        .map_err(|_| ServerError::Config(format!("{} is not 32 bytes", path.display())))?;
    Ok(Zeroizing::new(secret))
}

async fn sweep_now_and_then(app: App) {
    for round in 0_u64.. {
        let mut swept = sweep(&app).await;
        if swept.is_ok() && round % STRAYS == 0 {
            swept = delete_strays(&app).await;
        }
        if let Err(failure) = swept {
            tracing::error!(%failure, "housekeeping failed");
        }
        tokio::time::sleep(SWEEP).await;
    }
}

/// Deletes objects that were written and never named, because the server ended between the two.
async fn delete_strays(app: &App) -> Outcome<()> {
    // Nothing takes so long to name what it wrote. Names are read after the list is: what was named
    // meanwhile is among them.
    let before = Time(app.clock.now().0.saturating_sub(STRAY));
    let old = app.objects.older_than(before).await?;
    let named = |work: &crate::service::Work<'_>| Ok(rows::objects(work.tx)?);
    let named: HashSet<String> = app.read(named).await?.into_iter().collect();
    for object in old.iter().filter(|object| !named.contains(*object)) {
        app.objects.delete(object).await?;
    }
    Ok(())
}

/// Forgets what is over, then deletes objects that nothing names any more.
async fn sweep(app: &App) -> Outcome<()> {
    loop {
        let doomed = app.write(housekeeping::sweep).await?;
        if doomed.is_empty() {
            return Ok(());
        }
        for object in &doomed {
            app.objects.delete(object).await?;
        }
        let forget = move |work: &crate::service::Work<'_>| {
            let mut all = doomed.iter();
            Ok(all.try_for_each(|object| rows::forget_doomed(work.tx, object))?)
        };
        app.write(forget).await?;
    }
}
