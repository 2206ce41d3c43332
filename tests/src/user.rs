//! A user without privileges.

use std::path::Path;
use std::process::Command;

use crate::program::{program, shell};

const NAME: &str = "keyfold-test";

/// The system user `keyfold-test`, made when it does not exist yet.
#[derive(Debug, Clone, Copy)]
pub struct OrdinaryUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl OrdinaryUser {
    /// Finds or makes the user. Its shell is nologin, its home does not exist.
    pub fn get() -> Self {
        let script = format!(
            "exec 9>/tmp/keyfold-test-user.lock; flock 9
             id {NAME} >/dev/null 2>&1 ||
                useradd --system --user-group --no-create-home --home-dir /nonexistent \
                    --shell /usr/sbin/nologin {NAME}
             id -u {NAME}; id -g {NAME}"
        );
        let ids = shell(Path::new("/"), &script);
        let mut ids = ids.lines().map(|id| id.parse().unwrap());
        Self {
            uid: ids.next().unwrap(),
            gid: ids.next().unwrap(),
        }
    }

    /// The user's name, which is its group's too.
    pub fn name(self) -> &'static str {
        NAME
    }

    /// A command that runs `name` as this user, with no other groups.
    pub fn command(self, name: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = program("setpriv");
        command
            .arg(format!("--reuid={}", self.uid))
            .arg(format!("--regid={}", self.gid));
        command.args(["--clear-groups", "--"]).arg(name);
        command
    }
}
