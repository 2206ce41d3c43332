//! Open directories.

use keyfold_fs::error::FsResult;
use keyfold_fs::vfs::{Attr, Cookie, DirEntry, Entry, Handle, Listing, Vfs};

use super::Checked;
use crate::ops::{Op, Pick};
use crate::pair::{Both, OpenPair, Opened, Pair, agree};
use crate::tree::Listed;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    /// With attributes; counts as lookup.
    Plus,
}

/// A few entries of a listing.
#[derive(Debug)]
struct Page {
    listed: Vec<Listed>,
    attrs: Vec<Attr>,
    end: Cookie,
}

fn page(vfs: &dyn Vfs, at: (Handle, Cookie), count: usize, style: Style) -> FsResult<Page> {
    let mut page = Page {
        listed: Vec::new(),
        attrs: Vec::new(),
        end: at.1,
    };
    let mut take = |entry: DirEntry<'_>| {
        if page.listed.len() == count {
            return Listing::Full;
        }
        page.end = entry.cookie;
        page.listed.push(Listed {
            name: entry.name.into(),
            ino: entry.ino,
            kind: entry.kind,
        });
        Listing::Continue
    };
    match style {
        Style::Plain => vfs.readdir(at.0, at.1, &mut take)?,
        Style::Plus => {
            let mut attrs = Vec::new();
            vfs.readdir_plus(at.0, at.1, &mut |entry, attr| {
                let taken = take(entry);
                if taken == Listing::Continue {
                    attrs.push(*attr);
                }
                taken
            })?;
            page.attrs = attrs;
        }
    }
    Ok(page)
}

impl Pair<'_> {
    pub(super) fn listings(&mut self, op: &Op) -> Checked {
        let vfs = self.vfs();
        match op {
            Op::Opendir(pick) => {
                let dir = self.dir(*pick);
                let model = vfs.model.opendir(dir.model);
                let handles = agree(model, vfs.subject.opendir(dir.subject))?;
                let from = Both {
                    model: Cookie::START,
                    subject: Cookie::START,
                };
                let opened = Opened::Directory { from };
                self.handles.extend(handles.map(|handle| OpenPair {
                    ino: dir,
                    handle,
                    opened,
                }));
                Ok(())
            }
            Op::Readdir { handle, count } => self.readdir(*handle, *count, Style::Plain),
            Op::ReaddirPlus { handle, count } => self.readdir(*handle, *count, Style::Plus),
            Op::Releasedir(pick) => {
                let Some(open) = self.open_dir(*pick) else {
                    return Ok(());
                };
                vfs.model.releasedir(open.handle.model);
                vfs.subject.releasedir(open.handle.subject);
                self.handles.retain(|other| other.handle != open.handle);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn readdir(&mut self, pick: Pick, count: usize, style: Style) -> Checked {
        let Some(open) = self.open_dir(pick) else {
            return Ok(());
        };
        let Opened::Directory { from } = open.opened else {
            return Ok(());
        };
        let (vfs, handle) = (self.vfs(), open.handle);
        let removed = vfs
            .model
            .getattr(open.ino.model)
            .is_ok_and(|attr| attr.nlink == 0);
        if !self.promises.listing_order || removed {
            return Ok(());
        }
        let model = page(vfs.model, (handle.model, from.model), count, style);
        let subject = page(vfs.subject, (handle.subject, from.subject), count, style);
        let Some(pages) = agree(model, subject)? else {
            return Ok(());
        };
        let Both { model, subject } = pages;
        self.advance(
            open,
            Both {
                model: model.end,
                subject: subject.end,
            },
        );
        let kept = model
            .listed
            .iter()
            .map(|e| e.name != b"." && e.name != b"..")
            .collect();
        self.compare_listed(&Both {
            model: model.listed,
            subject: subject.listed,
        })?;
        self.received_all(
            kept,
            &Both {
                model: model.attrs,
                subject: subject.attrs,
            },
        )
    }

    fn advance(&mut self, open: OpenPair, from: Both<Cookie>) {
        for other in self
            .handles
            .iter_mut()
            .filter(|other| other.handle == open.handle)
        {
            other.opened = Opened::Directory { from };
        }
    }

    fn received_all(&mut self, kept: Vec<bool>, attrs: &Both<Vec<Attr>>) -> Checked {
        let both = attrs.model.iter().zip(&attrs.subject).zip(kept);
        for ((model, subject), _) in both.filter(|(_, kept)| *kept) {
            let [model, subject] = [*model, *subject].map(|attr| Entry { attr });
            self.received(Both { model, subject })?;
        }
        Ok(())
    }
}
