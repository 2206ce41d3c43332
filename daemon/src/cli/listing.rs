//! `ls`: directories of a vault that is not mounted.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

use keyfold_fs::error::FsResult;
use keyfold_fs::vfs::{Attr, Cookie, FileKind, Handle, Ino, Listing, Vfs};
use keyfold_fs::volume::Verify;
use serde::Serialize;

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
    (attr.kind == FileKind::Symlink)
        .then(|| vfs.readlink(attr.ino))
        .transpose()
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

/// `YYYY-MM-DD hh:mm` in UTC, for any year (days to dates after Howard Hinnant's `civil_from_days`).
pub(crate) fn moment(secs: i64) -> String {
    let (days, rest) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    let shifted = i128::from(days) + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + i128::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}",
        rest / 3600,
        rest % 3600 / 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_before_1970_and_after_2038() {
        assert_eq!(moment(0), "1970-01-01 00:00");
        assert_eq!(moment(-1), "1969-12-31 23:59");
        assert_eq!(moment(951_782_400), "2000-02-29 00:00");
        assert_eq!(moment(4_102_444_800), "2100-01-01 00:00");
        assert_eq!(moment(-11_644_473_600), "1601-01-01 00:00");
        assert!(!moment(i64::MIN).is_empty() && !moment(i64::MAX).is_empty());
    }
}
