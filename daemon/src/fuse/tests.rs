//! The front end on real mounts, over the reference filesystem. Needs root and `/dev/fuse`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod control;
mod files;
mod life;
mod metadata;
mod protocol;
mod ring_offered;
mod watched;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use keyfold_fs::model::ModelFs;
use keyfold_fs::vfs::Vfs;
use tempfile::TempDir;

use super::{
    Audience, ControlCaller, ControlError, ControlService, FuseOptions, Mounted, Unmount, mount,
};

/// A user who is not root.
const NOBODY: u32 = 65534;

/// Repeats commands; `fail` fails.
struct Parrot;

impl ControlService for Parrot {
    fn status_json(&self) -> Vec<u8> {
        b"{\"state\":\"fine\"}\n".to_vec()
    }

    fn run(&self, line: &str, caller: ControlCaller) -> Result<String, ControlError> {
        if line == "fail" {
            return Err(ControlError {
                errno: libc::EHOSTUNREACH,
                message: "nobody there".into(),
            });
        }
        Ok(format!("{line} for {}", caller.uid))
    }
}

/// A mount that is taken down when dropped, also when a test fails.
struct Stage {
    mounted: Option<Mounted>,
    directory: TempDir,
}

impl Stage {
    fn new() -> Self {
        Self::serving(Arc::new(ModelFs::default()))
    }

    fn serving(vfs: Arc<dyn Vfs>) -> Self {
        Self::with(
            vfs,
            &FuseOptions {
                fs_name: "/a,vault".into(),
                ..FuseOptions::default()
            },
        )
    }

    /// Other users may use it too.
    fn shared() -> Self {
        let everyone = FuseOptions {
            audience: Audience::Everyone,
            ..FuseOptions::default()
        };
        let stage = Self::with(Arc::new(ModelFs::default()), &everyone);
        fs::set_permissions(stage.path(""), fs::Permissions::from_mode(0o777)).unwrap();
        stage
    }

    fn with(vfs: Arc<dyn Vfs>, options: &FuseOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let point = directory.path().join("a mount");
        fs::create_dir(&point).unwrap();
        let mounted = mount(vfs, Arc::new(Parrot), &point, options).unwrap();
        Self {
            mounted: Some(mounted),
            directory,
        }
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join("a mount").join(name)
    }

    fn mounted(&self) -> &Mounted {
        self.mounted.as_ref().unwrap()
    }

    /// Unmounts and waits for the end.
    fn end(mut self) {
        let mounted = self.mounted.take().unwrap();
        mounted.unmounter().unmount(Unmount::IfIdle).unwrap();
        mounted.wait().unwrap();
    }
}

/// Runs a program.
#[track_caller]
fn run<const N: usize>(words: [&OsStr; N]) -> Output {
    Command::new(words[0])
        .args(&words[1..])
        .env("LC_ALL", "C")
        .output()
        .unwrap()
}

/// What a program that must succeed printed.
#[track_caller]
fn printed(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{}: {err}", output.status);
    out.into_owned()
}

/// Asserts that a program failed for this reason.
#[track_caller]
fn assert_refused(output: &Output, reason: &str) {
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && err.contains(reason),
        "{}: {err}",
        output.status
    );
}

/// The errno of what must have failed.
#[track_caller]
fn errno<T>(result: std::io::Result<T>) -> i32 {
    match result {
        Ok(_) => panic!("succeeded"),
        Err(e) => e.raw_os_error().unwrap(),
    }
}
