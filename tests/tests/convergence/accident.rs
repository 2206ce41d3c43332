//! What happens to machines and server while changes are made.

use keyfold_tests::Seeded;

use crate::ledger::Ledger;
use crate::machines::Machines;

/// What happens in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accident {
    Nothing,
    /// The server is away.
    ServerStopped,
    /// The server is there and says nothing.
    ServerFrozen,
    /// The server dies and comes back, again and again.
    ServerKilled,
    /// A machine's daemon dies and comes back, again and again.
    Killed(usize),
    /// A machine's daemon dies while the server is away.
    KilledApart(usize),
    /// A machine is not mounted.
    Unmounted(usize),
}

/// Of so many acts, one is followed by a death.
const DEATHS: u64 = 12;

impl Accident {
    /// One of them.
    pub(crate) fn any(random: &mut Seeded) -> Self {
        let which = random.below(3) as usize;
        match random.below(7) {
            0 => Self::Nothing,
            1 => Self::ServerStopped,
            2 => Self::ServerFrozen,
            3 => Self::ServerKilled,
            4 => Self::Killed(which),
            5 => Self::KilledApart(which),
            _ => Self::Unmounted(which),
        }
    }

    /// Before the first change.
    pub(crate) fn begins(&self, machines: &mut Machines, ledger: &mut Ledger) {
        match *self {
            Self::ServerStopped | Self::KilledApart(_) => machines.world.server.stop(),
            Self::ServerFrozen => machines.world.server.freeze(),
            Self::Unmounted(which) => {
                machines.unmount(which);
                ledger.all_confirmed(which);
            }
            Self::Nothing | Self::ServerKilled | Self::Killed(_) => {}
        }
    }

    /// Before each change.
    pub(crate) fn goes_on(
        &self,
        random: &mut Seeded,
        machines: &mut Machines,
        ledger: &mut Ledger,
    ) {
        if random.below(DEATHS) > 0 {
            return;
        }
        match *self {
            Self::ServerKilled => {
                machines.world.server.kill9();
                machines.world.server.start();
            }
            Self::Killed(which) | Self::KilledApart(which) => {
                machines.kill(which);
                ledger.killed(which);
                machines.mount_all();
            }
            Self::Nothing | Self::ServerStopped | Self::ServerFrozen | Self::Unmounted(_) => {}
        }
    }

    /// After the last change.
    pub(crate) fn ends(&self, machines: &mut Machines) {
        match self {
            Self::ServerStopped | Self::KilledApart(_) => machines.world.server.start(),
            Self::ServerFrozen => machines.world.server.thaw(),
            Self::Nothing | Self::ServerKilled | Self::Killed(_) | Self::Unmounted(_) => {}
        }
        machines.mount_all();
    }
}
