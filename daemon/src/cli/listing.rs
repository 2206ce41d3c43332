//! `ls`: directories of a vault that is not mounted.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::vfs::{Attr, Cookie, FileKind, Handle, Ino, Listing, Vfs};
use keyfold_fs::volume::Verify;
use serde::Serialize;

use crate::calendar::moment;
use crate::cli::args::LsArgs;
use crate::cli::error::CliError;
use crate::cli::inside::{self, Found};
use crate::cli::output;

/// An entry of a listing.
struct Row {
    name: Vec<u8>,
    attr: Attr,
    target: Option<Vec<u8>>,
}

/// An entry for programs. A name that is not UTF-8 comes in hexadecimal.
#[derive(Serialize)]
struct JsonRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_hex: Option<String>,
    kind: &'static str,
    mode: String,
    links: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: i64,
    mtime_nanos: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

/// Lists a directory, or one file.
pub(crate) fn ls(args: &LsArgs) -> Result<(), CliError> {
    let engine = inside::look(&args.vault, &args.look, Verify::BySize)?;
    let vfs = engine.vfs();
    let wrong = |error| CliError::Inside {
        path: args.path.clone(),
        error,
    };
    let found = Found::find(&*vfs, &args.path)?;
    let mut rows = if found.attr().kind == FileKind::Directory {
        read_directory(&*vfs, found.ino()).map_err(wrong)?
    } else {
        let name = args
            .path
            .file_name()
            .unwrap_or_default()
            .as_bytes()
            .to_vec();
        let target = target_of(&*vfs, found.attr()).map_err(wrong)?;
        vec![Row {
            name,
            attr: *found.attr(),
            target,
        }]
    };
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    if args.json {
        return output::json(&rows.iter().map(json_row).collect::<Vec<_>>());
    }
    let mut text = Vec::new();
    for row in &rows {
        if args.long {
            text.extend_from_slice(long(&row.attr).as_bytes());
        }
        text.extend_from_slice(&output::shown(&row.name));
        if let (true, Some(target)) = (args.long, &row.target) {
            text.extend_from_slice(b" -> ");
            text.extend_from_slice(&output::shown(target));
        }
        text.push(b'\n');
    }
    output::bytes(&text)
}

fn read_directory(vfs: &dyn Vfs, ino: Ino) -> FsResult<Vec<Row>> {
    let handle = OpenDirectory {
        vfs,
        handle: vfs.opendir(ino)?,
    };
    let mut entries = Vec::new();
    vfs.readdir(handle.handle, Cookie::START, &mut |entry| {
        if !matches!(entry.name, b"." | b"..") {
            entries.push(entry.name.to_vec());
        }
        Listing::Continue
    })?;
    entries
        .into_iter()
        .map(|name| {
            let attr = *Found::child(vfs, ino, &name)?.attr();
            let target = target_of(vfs, &attr)?;
            Ok(Row { name, attr, target })
        })
        .collect()
}

fn target_of(vfs: &dyn Vfs, attr: &Attr) -> FsResult<Option<Vec<u8>>> {
    if attr.kind != FileKind::Symlink {
        return Ok(None);
    }
    match vfs.readlink(attr.ino) {
        // It is listed all the same.
        Err(FsError::AccessDenied) => Ok(None),
        target => target.map(Some),
    }
}

struct OpenDirectory<'a> {
    vfs: &'a dyn Vfs,
    handle: Handle,
}

impl Drop for OpenDirectory<'_> {
    fn drop(&mut self) {
        self.vfs.releasedir(self.handle);
    }
}

fn json_row(row: &Row) -> JsonRow {
    let attr = &row.attr;
    let name = String::from_utf8(row.name.clone()).ok();
    JsonRow {
        name_hex: name.is_none().then(|| hex(&row.name)),
        name,
        kind: kind_name(attr.kind),
        mode: format!("{:04o}", attr.perm),
        links: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        size: attr.size,
        mtime: attr.mtime.secs,
        mtime_nanos: attr.mtime.nanos,
        target: row
            .target
            .as_ref()
            .map(|t| String::from_utf8_lossy(t).into_owned()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Regular => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
        FileKind::CharDevice => "character-device",
        FileKind::BlockDevice => "block-device",
    }
}

/// Mode, links, owner, group, size and time of modification (UTC), as `ls -n` has them.
fn long(attr: &Attr) -> String {
    format!(
        "{} {:>3} {:>5} {:>5} {:>12} {} ",
        mode_text(attr),
        attr.nlink,
        attr.uid,
        attr.gid,
        attr.size,
        moment(attr.mtime.secs)
    )
}

fn mode_text(attr: &Attr) -> String {
    let kind = match attr.kind {
        FileKind::Regular => '-',
        FileKind::Directory => 'd',
        FileKind::Symlink => 'l',
        FileKind::Fifo => 'p',
        FileKind::Socket => 's',
        FileKind::CharDevice => 'c',
        FileKind::BlockDevice => 'b',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = attr.perm >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (attr.perm & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}
