//! `mount.fuse.keyfold`: the calling convention of mount(8) turned into our own.
//!
//! mount(8) runs `/sbin/mount.fuse.keyfold SPEC DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`
//! for `mount -t fuse.keyfold` and for lines of `/etc/fstab` with that type.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Name by which the program is a mount helper.
const NAME: &str = "mount.fuse.keyfold";

/// Whether the program was started as a mount helper.
pub(crate) fn is_helper(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new(NAME))
}

/// The command line of `keyfold mount` that means what mount(8) asked for.
///
/// A request to only pretend (`-f`) becomes `None`. What cannot be understood is passed on, so
/// that it is refused where all else is.
pub(crate) fn translate(args: impl IntoIterator<Item = OsString>) -> Option<Vec<OsString>> {
    let mut line: Vec<OsString> = vec!["keyfold".into(), "mount".into()];
    let mut places = Vec::new();
    let mut args = args.into_iter();
    let mut pretend = Pretend::No;
    while let Some(arg) = args.next() {
        match arg.as_bytes() {
            b"-o" => {
                line.push("-o".into());
                line.extend(args.next());
            }
            b"-t" | b"-N" => {
                args.next();
            }
            [b'-', letters @ ..] if is_flags(letters) => {
                if letters.contains(&b'f') {
                    pretend = Pretend::Yes;
                }
            }
            [b'-', ..] => line.push(arg),
            _ => places.push(arg),
        }
    }
    line.push("--".into());
    line.extend(places);
    (pretend == Pretend::No).then_some(line)
}

#[derive(PartialEq)]
enum Pretend {
    Yes,
    No,
}

fn is_flags(letters: &[u8]) -> bool {
    !letters.is_empty() && letters.iter().all(|b| b"sfnvr".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> Option<String> {
        let words = translate(line.split(' ').map(OsString::from))?;
        let words: Vec<_> = words
            .iter()
            .map(|w| w.to_string_lossy().into_owned())
            .collect();
        Some(words.join(" "))
    }

    #[test]
    fn what_mount_passes_becomes_our_mount_command() {
        assert_eq!(
            translated("/v.kf /mnt -sv -o rw,passwordfile=/k -t fuse.keyfold").unwrap(),
            "keyfold mount -o rw,passwordfile=/k -- /v.kf /mnt"
        );
    }

    #[test]
    fn pretending_mounts_nothing() {
        assert_eq!(translated("/v.kf /mnt -f -o rw"), None);
    }

    #[test]
    fn what_is_not_known_is_passed_on_to_be_refused() {
        assert_eq!(
            translated("/v.kf /mnt -z").unwrap(),
            "keyfold mount -z -- /v.kf /mnt"
        );
    }

    #[test]
    fn only_the_helper_name_makes_a_helper() {
        assert!(is_helper(OsStr::new("/sbin/mount.fuse.keyfold")));
        assert!(!is_helper(OsStr::new("/usr/bin/keyfold")));
    }
}
