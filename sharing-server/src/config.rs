//! What the operator decides: `server.toml` in the server's folder.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::server::ServerError;

/// The contents of `server.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen. Without TLS only a loopback address is taken.
    pub listen: SocketAddr,
    /// The certificate chain, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_certificate: Option<PathBuf>,
    /// Its private key, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// How clients reach the server; mails name it.
    pub public_url: String,
    /// Whether anybody may register, or only who is invited.
    pub open_registration: bool,
    /// Whether an address has to be proved before the first login. Needs `mail_folder` or `smtp`.
    pub verify_email: bool,
    /// Where mails are put, a file each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mail_folder: Option<PathBuf>,
    /// Bytes that a new account may store.
    pub quota: u64,
    /// Requests from one address in a second; after a quiet time ten times as many at once. Who asks
    /// more often is told to wait a second.
    pub requests_per_second: u64,
    /// Connections at one time.
    pub connections: usize,
    /// Connections from one address at one time.
    pub connections_per_address: usize,
    /// Streams of events of one user at one time.
    pub event_streams_per_user: usize,
    /// How long the head of a request may take, and how long a connection stays without one.
    pub head_seconds: u64,
    /// How long a client may send no byte of a body that it began, or take no byte of a reply.
    pub silence_seconds: u64,
    /// Bytes that one user fetches in an hour without an alert.
    pub download_alert: u64,
    /// Registrations from one address in an hour.
    pub registrations_per_hour: u64,
    /// Failed logins of one name from one address in a quarter of an hour.
    pub failed_logins: u64,
    /// Who takes mails, in place of `mail_folder`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smtp: Option<Smtp>,
}

/// A server that takes mails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smtp {
    /// Its name, which its certificate is for.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is secured.
    #[serde(default)]
    pub security: Security,
    /// Who mails are from: an address, or a name and an address in angle brackets.
    pub from: String,
    /// Who logs in there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The file with the password for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// A certificate, in PEM, that verifies the server's beside those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<PathBuf>,
}

/// How a connection to a server that takes mails is secured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Security {
    /// By STARTTLS, without which nothing is sent.
    #[default]
    Starttls,
    /// By TLS from the first byte.
    Tls,
    /// Not at all: to this machine only.
    Plain,
}

impl Smtp {
    fn check(&self) -> Result<(), &'static str> {
        if self.user.is_some() != self.password_file.is_some() {
            return Err("user and password_file of smtp belong together");
        }
        let address = self.host.parse::<IpAddr>();
        let here = self.host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        if self.security == Security::Plain && !here {
            return Err("without TLS mails go to this machine only");
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8090),
            tls_certificate: None,
            tls_key: None,
            public_url: "http://127.0.0.1:8090".into(),
            open_registration: true,
            verify_email: false,
            mail_folder: None,
            quota: 64 << 30,
            requests_per_second: 1000,
            connections: 8192,
            connections_per_address: 256,
            event_streams_per_user: 16,
            head_seconds: 60,
            silence_seconds: 30,
            download_alert: 32 << 30,
            registrations_per_hour: 20,
            failed_logins: 10,
            smtp: None,
        }
    }
}

impl Config {
    /// Reads `server.toml`.
    pub fn read(folder: &Path) -> Result<Self, ServerError> {
        let path = folder.join("server.toml");
        let text = std::fs::read_to_string(&path)
            .map_err(|error| ServerError::File(path.clone(), error))?;
        let config: Self = toml::from_str(&text)
            .map_err(|error| ServerError::Config(error.message().to_owned()))?;
        config.check()?;
        Ok(config)
    }

    /// What contradicts itself is refused before anything is opened.
    pub fn check(&self) -> Result<(), ServerError> {
        let refuse = |why: &str| Err(ServerError::Config(why.into()));
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            return refuse("tls_certificate and tls_key belong together");
        }
        if self.tls_key.is_none() && !self.listen.ip().is_loopback() {
            return refuse("without TLS the server listens on a loopback address only");
        }
        if self.mail_folder.is_some() && self.smtp.is_some() {
            return refuse("mails go to a mail_folder or by smtp, not both");
        }
        if self.verify_email && self.mail_folder.is_none() && self.smtp.is_none() {
            return refuse("verify_email needs a mail_folder or smtp");
        }
        if let Some(Err(why)) = self.smtp.as_ref().map(Smtp::check) {
            return refuse(why);
        }
        let limits = [
            self.connections,
            self.connections_per_address,
            self.event_streams_per_user,
        ];
        if limits.contains(&0) || self.head_seconds == 0 || self.silence_seconds == 0 {
            return refuse("a limit of nothing lets nobody in");
        }
        Ok(())
    }
}
