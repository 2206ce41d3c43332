//! Requests for access, and how they end without a grant.
//!
//! ```text
//! request  = [1, publication(32), role, nonce(16), expires, user, root(32), entry(32),
//!             wrapped message or null, time]
//! decision = [1, request(32), 0 denied or 1 withdrawn, root(32), entry(32), time]
//! ```
//!
//! The message is padded and wrapped for the owner who signed the publication. A request is used
//! once: by the roster record that cites it.

use keyfold_crypto::{
    Context, CryptoError, HashLabel, KemKey, KemPublic, Label, RandomError, SignLabel,
    WRAPPED_OVERHEAD, labelled_hash, unwrap, wrap,
};

use crate::cbor::{DecodeError, Decoded, Encoded, Reader, Writer};
use crate::ids::{ChainRoot, EntryHash, Nonce, PublicationHash, RequestHash, Time};
use crate::limits;
use crate::names::{Message, UserName};
use crate::padding::{pad, unpad};
use crate::roster::Role;
use crate::signed::Statement;

/// A padded message is at most an eighth longer.
const WRAPPED_MESSAGE: usize =
    limits::MESSAGE_BYTES + limits::MESSAGE_BYTES / 8 + 16 + WRAPPED_OVERHEAD;

/// A wish for access to what was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// To what.
    pub publication: PublicationHash,
    /// The role wanted.
    pub role: Role,
    /// Makes it unlike any other.
    pub nonce: Nonce,
    /// When it ends by itself.
    pub expires: Time,
    /// Who asks.
    pub user: UserName,
    /// Who that is.
    pub root: ChainRoot,
    /// The keys he has: the head of his chain.
    pub entry: EntryHash,
    /// What he writes to the owner.
    pub message: Option<Vec<u8>>,
    /// When.
    pub time: Time,
}

impl Request {
    /// Hash of the request.
    pub fn hash(&self) -> RequestHash {
        RequestHash(labelled_hash(HashLabel::REQUEST, &self.encode()))
    }

    fn message_context(&self) -> Context {
        Context::new(Label::REQUEST_MESSAGE)
            .bytes(&self.publication.0)
            .bytes(&self.nonce.0)
            .bytes(&self.root.0)
            .bytes(&self.entry.0)
    }

    /// Wraps a message for the owner with the key `to`, bound to the other fields.
    pub fn with_message(mut self, to: &KemPublic, message: &Message) -> Result<Self, RandomError> {
        let padded = pad(message.as_str().as_bytes());
        self.message = Some(wrap(to, &self.message_context(), &padded)?);
        Ok(self)
    }

    /// The message, if there is one. Fails with [`CryptoError::Tampered`], or with
    /// [`CryptoError::Malformed`] for what is no message.
    pub fn open_message(&self, key: &KemKey) -> Option<Result<Message, CryptoError>> {
        let wrapped = self.message.as_ref()?;
        let opened = unwrap(key, &self.message_context(), wrapped);
        Some(opened.and_then(|padded| {
            let bytes = unpad(&padded).ok_or(CryptoError::Malformed)?;
            let text = std::str::from_utf8(&bytes).map_err(|_| CryptoError::Malformed)?;
            text.parse().map_err(|_| CryptoError::Malformed)
        }))
    }
}

impl Statement for Request {
    const LABEL: SignLabel = SignLabel::REQUEST;
}

impl Encoded for Request {
    const LIMIT: usize = limits::STATEMENT_BYTES - 128;

    fn write(&self, w: &mut Writer) {
        w.array(10);
        w.uint(1);
        self.publication.write(w);
        self.role.write(w);
        self.nonce.write(w);
        self.expires.write(w);
        self.user.write(w);
        self.root.write(w);
        self.entry.write(w);
        w.optional(self.message.as_deref(), Writer::bytes);
        self.time.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(10)?;
        r.version()?;
        Ok(Self {
            publication: PublicationHash::read(r)?,
            role: Role::read(r)?,
            nonce: Nonce::read(r)?,
            expires: Time::read(r)?,
            user: UserName::read(r)?,
            root: ChainRoot::read(r)?,
            entry: EntryHash::read(r)?,
            message: r.optional(|r| r.bytes(WRAPPED_MESSAGE).map(<[u8]>::to_vec))?,
            time: Time::read(r)?,
        })
    }
}

/// How a request ends without a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// By an owner.
    Denied,
    /// By the requester.
    Withdrawn,
}

/// The end of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Which request.
    pub request: RequestHash,
    /// How it ends.
    pub verdict: Verdict,
    /// Who says so.
    pub root: ChainRoot,
    /// The keys he signs with.
    pub entry: EntryHash,
    /// When.
    pub time: Time,
}

impl Statement for Decision {
    const LABEL: SignLabel = SignLabel::DECISION;
}

impl Encoded for Decision {
    const LIMIT: usize = 256;

    fn write(&self, w: &mut Writer) {
        w.array(6);
        w.uint(1);
        self.request.write(w);
        w.uint(match self.verdict {
            Verdict::Denied => 0,
            Verdict::Withdrawn => 1,
        });
        self.root.write(w);
        self.entry.write(w);
        self.time.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(6)?;
        r.version()?;
        Ok(Self {
            request: RequestHash::read(r)?,
            verdict: match r.uint()? {
                0 => Verdict::Denied,
                1 => Verdict::Withdrawn,
                _ => return Err(DecodeError::Malformed),
            },
            root: ChainRoot::read(r)?,
            entry: EntryHash::read(r)?,
            time: Time::read(r)?,
        })
    }
}
