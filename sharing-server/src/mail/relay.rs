//! Mails by SMTP.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use keyfold_crypto::fill_random;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::config::{Security, Smtp};
use crate::server::ServerError;
use crate::service::recovery::Letter;

/// Connections at one time.
const TURNS: usize = 4;
/// How long each step of a conversation may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long is waited before a mail is tried again.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_mins(1),
    Duration::from_mins(10),
];

/// A server that takes mails.
#[derive(Clone)]
pub(crate) struct Relay {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    turns: Arc<Semaphore>,
}

/// Why a mail was not taken. Replies of servers repeat addresses, so none is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failed {
    /// It will never be.
    ForGood,
    /// It may be later.
    ForNow,
}

impl Relay {
    pub(super) fn open(config: &Smtp) -> Result<Self, ServerError> {
        let refuse = |why: &str| ServerError::Config(format!("smtp: {why}"));
        let from = config
            .from
            .parse()
            .map_err(|_| refuse("from is no address"))?;
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&*config.host)
            .port(config.port)
            .timeout(Some(PATIENCE))
            .tls(security(config)?);
        if let (Some(user), Some(path)) = (&config.user, &config.password_file) {
            let password = std::fs::read_to_string(path)
                .map_err(|error| ServerError::File(path.clone(), error))?;
            let password = Zeroizing::new(password);
            let password = password.trim_end_matches(['\r', '\n']).to_owned();
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(Self {
            transport: builder.build(),
            from,
            turns: Arc::new(Semaphore::new(TURNS)),
        })
    }

    /// Hands a mail over, again after a while where that may help.
    pub(super) async fn send(&self, letter: &Letter) {
        let mut outcome = self.deliver(letter).await;
        for pause in PAUSES {
            if outcome != Err(Failed::ForNow) {
                break;
            }
            tracing::warn!("a mail was not taken and is tried again");
            tokio::time::sleep(pause).await;
            outcome = self.deliver(letter).await;
        }
        if outcome.is_err() {
            tracing::error!("a mail was not taken");
        }
    }

    async fn deliver(&self, letter: &Letter) -> Result<(), Failed> {
        let message = self.message(letter).ok_or(Failed::ForGood)?;
        let turn = self.turns.acquire().await;
        let _turn = turn.map_err(|_| Failed::ForGood)?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() || error.is_client() => Err(Failed::ForGood),
            Err(_) => Err(Failed::ForNow),
        }
    }

    fn message(&self, letter: &Letter) -> Option<Message> {
        let mut id = [0; 16];
        fill_random(&mut id).ok()?;
        let id = format!("<{}@{}>", HEXLOWER.encode(&id), self.from.email.domain());
        let to: Address = letter.to.as_str().parse().ok()?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(letter.subject)
            .message_id(Some(id))
            .header(ContentType::TEXT_PLAIN);
        message.body(letter.text.clone()).ok()
    }
}

fn security(config: &Smtp) -> Result<Tls, ServerError> {
    let wrong =
        |error: lettre::transport::smtp::Error| ServerError::Config(format!("smtp: {error}"));
    let mut parameters = TlsParameters::builder(config.host.clone());
    if let Some(path) = &config.certificate_authority {
        let pem = std::fs::read(path).map_err(|error| ServerError::File(path.clone(), error))?;
        parameters = parameters.add_root_certificate(Certificate::from_pem(&pem).map_err(wrong)?);
    }
    Ok(match config.security {
        Security::Starttls => Tls::Required(parameters.build().map_err(wrong)?),
        Security::Tls => Tls::Wrapper(parameters.build().map_err(wrong)?),
        Security::Plain => Tls::None,
    })
}
