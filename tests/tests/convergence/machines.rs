//! Alice's laptop, her tablet and Bob's laptop, with one folder.

use std::path::PathBuf;
use std::time::Duration;

use keyfold_tests::{Mount, Vault, until};
use serde_json::Value;

use crate::picture::{Picture, difference, picture};
use crate::scene::{World, comes, shared, status};

/// Longest time until all is everywhere. A machine with other work stands still at times.
const LIMIT: Duration = Duration::from_mins(3);

/// A machine, whose daemon runs or does not.
pub(crate) struct Machine {
    pub(crate) number: usize,
    vault: Vault,
    mount: Option<Mount>,
    folder: &'static str,
}

impl Machine {
    /// The folder in its mount.
    pub(crate) fn root(&self) -> PathBuf {
        self.mount.as_ref().unwrap().join(self.folder)
    }

    fn sharing(&self) -> Value {
        status(self.mount.as_ref().unwrap())["sharing"].clone()
    }

    fn is_synced(&self) -> bool {
        let sharing = self.sharing();
        let share = &sharing["shares"][0];
        share["state"] == "synced" && share["waiting"] == 0
    }
}

/// The server and the machines.
pub(crate) struct Machines {
    pub(crate) world: World,
    all: Vec<Machine>,
}

impl Machines {
    /// All of them, with an empty folder.
    pub(crate) fn new() -> Self {
        let world = World::new();
        let (alice, bob) = world.two();
        let tablet = alice.another_device(&world);
        let laptop = alice.vault.mount();
        let reports = shared(&laptop, "bob", &["--write"]);
        let theirs = "Shared/alice/Reports";
        let (at_tablet, at_bob) = (tablet.mount(), bob.vault.mount());
        for mount in [&at_tablet, &at_bob] {
            comes(&mount.join(theirs).join("first"), "from alice");
        }
        std::fs::remove_file(reports.join("first")).unwrap();
        let all = [
            (alice.vault, laptop, "Reports"),
            (tablet, at_tablet, theirs),
            (bob.vault, at_bob, theirs),
        ];
        let machine = |(number, (vault, mount, folder))| Machine {
            number,
            vault,
            mount: Some(mount),
            folder,
        };
        let all = all.into_iter().enumerate().map(machine).collect();
        Self { world, all }
    }

    /// How many.
    pub(crate) fn len(&self) -> u64 {
        self.all.len() as u64
    }

    /// One of them, if its daemon runs.
    pub(crate) fn at_work(&self, which: u64) -> Option<&Machine> {
        let machine = &self.all[which as usize];
        machine.mount.is_some().then_some(machine)
    }

    /// Makes what all of them have durable.
    pub(crate) fn sync_all(&self) {
        for mount in self.all.iter().filter_map(|machine| machine.mount.as_ref()) {
            std::fs::write(mount.join(".keyfold/control"), "sync").unwrap();
        }
    }

    /// Kills the daemon of one.
    pub(crate) fn kill(&mut self, which: usize) {
        self.all[which].mount.take().unwrap().kill9();
    }

    /// Unmounts the vault of one.
    pub(crate) fn unmount(&mut self, which: usize) {
        self.all[which].mount.take().unwrap().unmount();
    }

    /// Has all daemons run that do not.
    pub(crate) fn mount_all(&mut self) {
        for machine in &mut self.all {
            if machine.mount.is_none() {
                machine.mount = Some(machine.vault.mount());
            }
        }
    }

    /// Waits until all have the same and nothing is left to do. Returns what they have.
    #[track_caller]
    pub(crate) fn settled(&self, when: &str) -> Picture {
        let told = Told(self);
        let mut found = None;
        until(&format!("all are the same {when}"), LIMIT, || {
            if !self.all.iter().all(Machine::is_synced) {
                std::thread::sleep(Duration::from_millis(50));
                return false;
            }
            let pictures = self.all.iter().map(|machine| picture(&machine.root()));
            let Ok(pictures) = pictures.collect::<Result<Vec<_>, _>>() else {
                return false;
            };
            let same = pictures.windows(2).all(|two| two[0] == two[1]);
            found = pictures.into_iter().next().filter(|_| same);
            same
        });
        drop(told);
        found.unwrap()
    }

    /// Unmounts everything, and checks all vaults.
    #[track_caller]
    pub(crate) fn end(mut self) {
        for machine in &mut self.all {
            machine.mount.take().unwrap().unmount();
        }
        for machine in &self.all {
            machine.vault.check();
        }
    }
}

/// What the machines know and have, should the test fail.
struct Told<'m>(&'m Machines);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let up = self.0.all.iter().filter(|machine| machine.mount.is_some());
        let up: Vec<_> = up.collect();
        for machine in &up {
            eprintln!("--- machine {}\n{:#}", machine.number, machine.sharing());
        }
        let show = |when: &str| {
            let pictures = up.iter().map(|machine| picture(&machine.root()));
            let pictures: Vec<_> = pictures.filter_map(Result::ok).collect();
            for two in pictures.windows(2) {
                eprintln!("--- {when}: {:#?}", difference(&two[0], &two[1]));
            }
        };
        show("as the kernel has it");
        if std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok() {
            show("as the mounts have it");
        }
    }
}
