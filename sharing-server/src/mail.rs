//! How mails leave the server: to a server that takes mails, as files in a folder, from which the
//! operator's own system sends them, or not at all.

mod relay;

use std::io::Write as _;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use keyfold_crypto::fill_random;

use crate::config::Config;
use crate::server::ServerError;
use crate::service::recovery::Letter;
use relay::Relay;

/// Where mails go.
pub(crate) enum Mail {
    /// Nowhere.
    Nowhere,
    /// Into a folder, a file each.
    Folder(PathBuf),
    /// To a server that takes mails.
    Relay(Box<Relay>),
}

impl Mail {
    /// What a configuration wants.
    pub(crate) fn open(config: &Config) -> Result<Self, ServerError> {
        Ok(match (&config.smtp, &config.mail_folder) {
            (Some(smtp), _) => Self::Relay(Box::new(Relay::open(smtp)?)),
            (None, Some(folder)) => Self::Folder(folder.clone()),
            (None, None) => Self::Nowhere,
        })
    }

    /// Sends a mail in the background, so that nobody sees from the time whether there was one.
    pub(crate) fn send(&self, letter: Letter) {
        match self {
            Self::Nowhere => {}
            Self::Folder(folder) => {
                let folder = folder.clone();
                tokio::task::spawn_blocking(move || {
                    if let Err(error) = write(&folder, &letter) {
                        tracing::error!(%error, "a mail could not be written");
                    }
                });
            }
            Self::Relay(relay) => {
                let relay = relay.clone();
                tokio::spawn(async move { relay.send(&letter).await });
            }
        }
    }
}

fn write(folder: &std::path::Path, letter: &Letter) -> std::io::Result<()> {
    let mut name = [0; 16];
    fill_random(&mut name).map_err(std::io::Error::other)?;
    let name = HEXLOWER.encode(&name);
    let unfinished = folder.join(format!(".{name}"));
    let mut file = std::fs::File::create_new(&unfinished)?;
    write!(
        file,
        "To: {}\r\nSubject: {}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{}",
        letter.to,
        letter.subject,
        letter.text.replace('\n', "\r\n")
    )?;
    file.sync_all()?;
    std::fs::rename(unfinished, folder.join(format!("{name}.eml")))
}
