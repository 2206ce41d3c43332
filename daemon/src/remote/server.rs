//! Where a server is, and which authorities its certificate may come from.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;
use std::str::FromStr;

use keyfold_protocol::wire::Base64;
use reqwest::{Certificate, Url};
use serde::{Deserialize, Serialize};

use super::RemoteError;

/// Bytes of the longest file of certificates.
const CA_BYTES: u64 = 256 << 10;

/// `https://host[:port]`, or `http://` to this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct ServerAddress(Url);

impl From<ServerAddress> for String {
    fn from(address: ServerAddress) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for ServerAddress {
    type Error = RemoteError;

    fn try_from(text: String) -> Result<Self, RemoteError> {
        text.parse()
    }
}

impl ServerAddress {
    /// The address of a path on the server. Paths are made of ids, names and slugs, which need no
    /// escaping.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        url.set_path(path);
        url.set_query((!query.is_empty()).then_some(query));
        url
    }

    /// Whether it is this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default();
        let loopback = |address: Ipv4Addr| address.is_loopback();
        host == "localhost" || host.parse().is_ok_and(loopback)
    }

    /// The host, and the port where it is not 443, as addresses of people have it.
    pub(crate) fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        match self.0.port_or_known_default() {
            None | Some(443) => host.to_owned(),
            Some(port) => format!("{host}:{port}"),
        }
    }
}

impl FromStr for ServerAddress {
    type Err = RemoteError;

    fn from_str(text: &str) -> Result<Self, RemoteError> {
        let refuse = |why: &str| Err(RemoteError::Address(why.to_owned()));
        let Ok(mut url) = Url::parse(text) else {
            return refuse("it cannot be read");
        };
        if !matches!(url.scheme(), "https" | "http") {
            return refuse("it begins with neither https:// nor http://");
        }
        let plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
            && matches!(url.path(), "" | "/");
        if !plain {
            return refuse("it has more than a host and a port");
        }
        if url.port() == Some(0) {
            return refuse("it has no port that can be called");
        }
        url.set_path("");
        let address = Self(url);
        let name = format!("a0@{}", address.host());
        if name.parse::<keyfold_protocol::account::Address>().is_err() {
            return refuse("its host is not a name or an IPv4 address");
        }
        if address.0.scheme() == "http" && !address.is_loopback() {
            return refuse("without TLS only a server on this machine is called");
        }
        Ok(address)
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// Certificates of authorities that a server's may come from, beside the system's: in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Base64", into = "Base64")]
pub(crate) struct CaFile(Vec<u8>);

impl From<CaFile> for Base64 {
    fn from(file: CaFile) -> Self {
        Self(file.0)
    }
}

impl TryFrom<Base64> for CaFile {
    type Error = RemoteError;

    fn try_from(pem: Base64) -> Result<Self, RemoteError> {
        Self::from_pem(pem.0)
    }
}

impl CaFile {
    /// Reads a file, which has at least one certificate.
    pub(crate) fn read(path: &Path) -> Result<Self, RemoteError> {
        let failed = |why: &dyn fmt::Display| RemoteError::Authority(why.to_string());
        let size = std::fs::metadata(path).map_err(|e| failed(&e))?.len();
        if size > CA_BYTES {
            return Err(failed(&"it is too long"));
        }
        Self::from_pem(std::fs::read(path).map_err(|e| failed(&e))?)
    }

    /// Certificates as they were kept.
    pub(crate) fn from_pem(pem: Vec<u8>) -> Result<Self, RemoteError> {
        let file = Self(pem);
        if file.certificates()?.is_empty() {
            return Err(RemoteError::Authority("it has no certificate".to_owned()));
        }
        Ok(file)
    }

    /// The file, to be kept.
    pub(crate) fn as_pem(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn certificates(&self) -> Result<Vec<Certificate>, RemoteError> {
        Certificate::from_pem_bundle(&self.0)
            .map_err(|_| RemoteError::Authority("it is not PEM".to_owned()))
    }
}

/// A server as a vault keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    /// Where it is.
    pub(crate) address: ServerAddress,
    /// Whom its certificate may come from, beside the system's authorities.
    pub(crate) ca: Option<CaFile>,
}
