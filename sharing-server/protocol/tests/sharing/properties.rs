//! What holds for every log, by random stories of honest and hostile members.

use keyfold_protocol::ids::{Seq, Time};
use keyfold_protocol::log::{Log, Outcome, Void};
use keyfold_protocol::record::Kind;
use keyfold_protocol::roster::{Change, Role};
use proptest::prelude::*;

use crate::people::{NOW, Person, Rotation, Share, add, add_until, person};

const NAMES: [&str; 4] = ["alice", "bob", "carol", "dave"];

fn rotation(number: u8) -> Rotation {
    match number % 3 {
        0 => Rotation::Stay,
        1 => Rotation::FromNow,
        _ => Rotation::WithHistory,
    }
}

/// One act of somebody, allowed or not. What an honest client would not draft is appended as it is,
/// without rotation and grants, so that hostile records are in the log too.
fn act(share: &mut Share, people: &[Person], [who, what, whom]: [u8; 3]) {
    let author = &people[usize::from(who) % people.len()];
    let target = &people[usize::from(whom) % people.len()];
    share.time = Time(NOW.0 + u64::from(whom) * 3);
    let known = share.seen_by_creator_knows(author);
    if !known {
        return;
    }
    let change = match what % 9 {
        0 | 1 => {
            share.write(author, vec![]);
            return;
        }
        2 => add(target, Role::Writer),
        3 => add_until(target, Role::Reader, Time(NOW.0 + 300)),
        4 => Change::Remove(target.root()),
        5 => Change::Role(target.root(), Role::Reader),
        6 => Change::Role(target.root(), Role::Owner),
        7 => Change::Leave,
        _ => {
            let mut header = share.header(Kind::Content, author);
            header.epoch.0 += 1;
            let key = share.key();
            share.write_as(header, vec![], &key, author);
            return;
        }
    };
    let before = share.log.roster().cloned();
    let may = share.log.roster().unwrap().members.get(&author.root());
    let expired = may.is_none_or(|member| member.expired(share.time));
    match share.draft(author, vec![change.clone()], rotation(what / 9)) {
        Ok(append) if !expired => {
            let outcome = share.append(append).unwrap().outcome;
            if let Outcome::Void(void) = outcome {
                // An owner's later clock may end somebody's time, and nothing else is left to chance.
                assert_eq!(void, Void::Expired);
            }
        }
        _ => {
            let outcome = share.force_changes(author, vec![change]);
            if matches!(outcome, Outcome::Void(_)) {
                assert_eq!(share.log.roster().cloned(), before);
            }
        }
    }
    share
        .keys
        .truncate(share.log.roster().unwrap().epoch.0 as usize);
}

impl Share {
    /// Whether the author was a member once: who never was is the server's doing, not a story's.
    fn seen_by_creator_knows(&self, author: &Person) -> bool {
        let mut probe = self.log.clone();
        let header = self.header(Kind::Content, author);
        let record =
            keyfold_protocol::record::Record::sign(header, vec![], &author.account.identity);
        probe.apply(&record, None).is_ok()
    }
}

fn story(acts: &[[u8; 3]]) -> (Share, Vec<Person>) {
    let people: Vec<Person> = NAMES.map(person).into();
    let mut share = Share::with(&people[0], &[(&people[1], Role::Owner)]);
    for one in acts {
        act(&mut share, &people, *one);
    }
    (share, people)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn everybody_finds_the_same_roster_and_the_same_records_void_at_every_place(
        acts in prop::collection::vec(any::<[u8; 3]>(), 1..14),
    ) {
        let (share, people) = story(&acts);
        let mut views: Vec<Log> = people.iter().map(|p| Log::new(p.own(), share.id)).collect();
        let delivered: Vec<_> = people.iter().map(|p| share.delivered(p)).collect();
        for place in 0..share.appended.len() {
            for (view, delivered) in views.iter_mut().zip(&delivered) {
                let one = &delivered[place];
                view.apply(&one.record, one.grant.as_ref()).unwrap();
            }
            let first = &views[0];
            for view in &views[1..] {
                prop_assert_eq!(view.roster(), first.roster());
                prop_assert_eq!(view.roster_record(), first.roster_record());
                prop_assert_eq!(view.rotation_due(), first.rotation_due());
                prop_assert!(view.voids().eq(first.voids()));
                prop_assert_eq!(view.head(), first.head());
            }
        }
    }

    #[test]
    fn the_order_and_repetition_of_delivery_do_not_matter(
        acts in prop::collection::vec(any::<[u8; 3]>(), 1..14),
        order in any::<u64>(),
    ) {
        let (share, people) = story(&acts);
        let whole = share.seen_by(&people[1]).0;
        let mut delivered = share.delivered(&people[1]);
        let mut state = order | 1;
        for at in (1..delivered.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            delivered.swap(at, (state >> 33) as usize % (at + 1));
        }
        let mut log = Log::new(people[1].own(), share.id);
        let mut seen = Vec::new();
        for pulled in delivered.chunks(3) {
            seen.extend_from_slice(pulled);
            log.absorb(&seen).unwrap();
        }
        prop_assert_eq!(log.head(), whole.head());
        prop_assert_eq!(log.roster(), whole.roster());
        prop_assert!(log.voids().eq(whole.voids()));
        for seq in (0..share.appended.len() as u64).map(Seq) {
            prop_assert_eq!(log.record_at(seq), whole.record_at(seq));
        }
    }

    #[test]
    fn only_members_of_an_epoch_have_its_key(
        acts in prop::collection::vec(any::<[u8; 3]>(), 1..14),
    ) {
        let (share, people) = story(&acts);
        for person in &people {
            let (log, _) = share.seen_by(person);
            let roster = log.roster().unwrap();
            let member = roster.members.contains_key(&person.root());
            prop_assert_eq!(log.epoch_key(roster.epoch).is_some(), member || {
                // Who left keeps the key until an owner begins another epoch.
                log.rotation_due() && log.epoch_key(roster.epoch).is_some()
            });
        }
    }
}
