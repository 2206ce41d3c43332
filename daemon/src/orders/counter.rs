//! Where the daemon of a mounted vault takes orders.

use std::collections::VecDeque;
use std::sync::Arc;

use keyfold_crypto::RandomError;
use keyfold_protocol::ids::Nonce;
use keyfold_protocol::wire::Base64;
use parking_lot::Mutex;

use super::{Order, Seal, carry_out};
use crate::online::Online;

/// Challenges that wait for their order at most; more, and the oldest is good no more.
const CHALLENGES: usize = 64;

/// Why something is no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It answers no challenge that waits for its order.
    NoChallenge,
    /// It was not made with the vault's key.
    NotSealed,
    /// The system gave no random bytes.
    Random,
}

impl From<RandomError> for Refused {
    fn from(_: RandomError) -> Self {
        Self::Random
    }
}

/// Challenges that wait for their order, the oldest first.
#[derive(Default)]
struct Challenges(Mutex<VecDeque<Nonce>>);

impl Challenges {
    /// Another one.
    fn give(&self) -> Result<Nonce, Refused> {
        let challenge = Nonce::generate()?;
        let mut waiting = self.0.lock();
        if waiting.len() == CHALLENGES {
            waiting.pop_front();
        }
        waiting.push_back(challenge);
        Ok(challenge)
    }

    /// The order that answers a challenge, which is good no more then.
    fn answered(&self, seal: &Seal, challenge: Nonce, sealed: &Base64) -> Result<Order, Refused> {
        let mut waiting = self.0.lock();
        let place = waiting.iter().position(|one| *one == challenge);
        let place = place.ok_or(Refused::NoChallenge)?;
        let order = seal.open_order(challenge, sealed);
        let order = order.ok_or(Refused::NotSealed)?;
        waiting.remove(place);
        Ok(order)
    }
}

/// Where the daemon takes orders.
pub(crate) struct Counter {
    online: Arc<Online>,
    seal: Seal,
    challenges: Challenges,
}

impl Counter {
    /// One for the volume that is kept online here.
    pub(crate) fn new(online: Arc<Online>, seal: Seal) -> Self {
        Self {
            online,
            seal,
            challenges: Challenges::default(),
        }
    }

    /// A challenge, for one order.
    pub(crate) fn challenge(&self) -> Result<Nonce, Refused> {
        self.challenges.give()
    }

    /// Carries out an order. What came of it, failures included, is told to who gave it alone.
    pub(crate) fn obey(&self, challenge: Nonce, sealed: &Base64) -> Result<Base64, Refused> {
        let order = self.challenges.answered(&self.seal, challenge, sealed)?;
        let told = if order.changes_account() {
            self.online.apart(|engine| carry_out(engine, order))
        } else {
            self.online.beside(|engine| carry_out(engine, order))
        };
        Ok(self.seal.reply(challenge, &told)?)
    }
}

#[cfg(test)]
mod tests {
    use keyfold_crypto::MasterKey;
    use keyfold_fs::vault::VaultId;

    use super::*;
    use crate::orders::{Failure, Told};

    fn seal(vault: u8) -> (Seal, MasterKey) {
        let master = MasterKey::generate().unwrap();
        (Seal::new(VaultId([vault; 16]), &master), master)
    }

    #[test]
    fn an_order_is_taken_once_and_only_in_answer_to_a_challenge() {
        let (seal, _) = seal(1);
        let challenges = Challenges::default();
        let (one, other) = (challenges.give().unwrap(), challenges.give().unwrap());
        let order = seal.order(one, &Order::Devices).unwrap();
        let refused = challenges.answered(&seal, other, &order).unwrap_err();
        assert_eq!(refused, Refused::NotSealed);
        assert!(matches!(
            challenges.answered(&seal, one, &order),
            Ok(Order::Devices)
        ));
        let again = challenges.answered(&seal, one, &order).unwrap_err();
        assert_eq!(again, Refused::NoChallenge);
        let own = Nonce::generate().unwrap();
        let unasked = seal.order(own, &Order::Devices).unwrap();
        let unasked = challenges.answered(&seal, own, &unasked).unwrap_err();
        assert_eq!(unasked, Refused::NoChallenge);
    }

    #[test]
    fn nobody_without_the_vaults_key_makes_an_order_or_an_answer() {
        let ((seal, master), (stranger, _)) = (seal(1), seal(1));
        let of_another_vault = Seal::new(VaultId([2; 16]), &master);
        let challenges = Challenges::default();
        let challenge = challenges.give().unwrap();
        for other in [&stranger, &of_another_vault] {
            let order = other.order(challenge, &Order::Kit).unwrap();
            let refused = challenges.answered(&seal, challenge, &order).unwrap_err();
            assert_eq!(refused, Refused::NotSealed);
            let reply = other.reply(challenge, &Ok(Told::Done)).unwrap();
            assert!(seal.open_reply(challenge, &reply).is_none());
        }
        // An order is no answer to one.
        let order = seal.order(challenge, &Order::Kit).unwrap();
        assert!(seal.open_reply(challenge, &order).is_none());
        let failed: Result<Told, Failure> = Err(Failure {
            code: 51,
            message: "no".to_owned(),
        });
        let reply = seal.reply(challenge, &failed).unwrap();
        let told = seal.open_reply(challenge, &reply).unwrap();
        assert_eq!(told.unwrap_err().code, 51);
        assert!(challenges.answered(&seal, challenge, &order).is_ok());
    }

    #[test]
    fn challenges_that_nobody_answers_take_no_room() {
        let challenges = Challenges::default();
        let first = challenges.give().unwrap();
        for _ in 0..CHALLENGES {
            challenges.give().unwrap();
        }
        assert_eq!(challenges.0.lock().len(), CHALLENGES);
        assert!(!challenges.0.lock().contains(&first));
    }
}
