//! The account's book: whom the user verified. All his devices have the same one.

use keyfold_protocol::account::{AccountBook, Contact};
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::wire::{Base64, PutBook};

use super::error::{AccountError, Lie};
use super::kept::{Changes, KeptBook, Slot};
use super::people::Person;
use super::{Session, now};

/// How often a book that others change meanwhile is changed anew.
const ATTEMPTS: usize = 5;

impl Session<'_> {
    /// Notes that somebody's safety words were compared, on all devices.
    pub(crate) async fn verify_person(&self, person: &Person) -> Result<(), AccountError> {
        let key = person.chain.key();
        if key.root == self.keys.account.root {
            return Err(AccountError::Oneself);
        }
        let contact = Contact {
            user: key.user,
            root: key.root,
            since: now(),
        };
        let add = |book: &mut AccountBook| {
            let known = book.contacts.iter().any(|known| known.root == contact.root);
            if !known {
                book.contacts.push(contact.clone());
            }
        };
        self.change_book(&add).await
    }

    /// Changes the book, on all devices.
    pub(crate) async fn change_book(
        &self,
        change: &dyn Fn(&mut AccountBook),
    ) -> Result<(), AccountError> {
        for _ in 0..ATTEMPTS {
            let mut kept = self.pull_book().await?;
            let before = kept.book.clone();
            change(&mut kept.book);
            if kept.book == before {
                return Ok(());
            }
            match self.push_book(kept).await {
                Err(error) if error.code() == Some(ErrorCode::Conflict) => {}
                other => return other,
            }
        }
        Err(AccountError::BookBusy)
    }

    /// The book as the server has it, if it is not older than the one that was seen.
    pub(crate) async fn pull_book(&self) -> Result<KeptBook, AccountError> {
        let known = self.kept().book()?;
        let reply = self.remote().book().await?;
        if reply.generation < known.generation {
            return Err(Lie::OlderBook.into());
        }
        if reply.generation == known.generation {
            return Ok(known);
        }
        let account = &self.keys.account;
        let opened = AccountBook::open(
            &account.identity,
            account.root,
            reply.generation,
            &reply.sealed.0,
        );
        let kept = KeptBook {
            generation: reply.generation,
            book: opened.map_err(|_| Lie::OlderBook)?,
        };
        self.kept()
            .change(&Changes::default().put(Slot::Book, &kept))?;
        Ok(kept)
    }

    /// Replaces the book that `kept` was made from.
    async fn push_book(&self, kept: KeptBook) -> Result<(), AccountError> {
        let account = &self.keys.account;
        let next = KeptBook {
            generation: kept.generation + 1,
            book: kept.book,
        };
        let sealed = next
            .book
            .seal(&account.identity, account.root, next.generation)?;
        let body = PutBook {
            generation: next.generation,
            sealed: Base64(sealed),
        };
        self.remote().put_book(&body).await?;
        self.kept()
            .change(&Changes::default().put(Slot::Book, &next))
    }

    /// Seals the book anew, after the identity that it was sealed by changed.
    pub(super) async fn reseal_book(&self) -> Result<(), AccountError> {
        let known = self.kept().book()?;
        if known.generation == 0 {
            return Ok(());
        }
        self.push_book(known).await
    }
}
