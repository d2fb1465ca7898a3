//! The rules of dividing, one by one and in any order.

use super::*;

/// Time enough.
const AN_HOUR: Duration = Duration::from_secs(3600);

/// Slots, room, and what was given to whom.
struct Worker {
    division: Division,
    now: Instant,
}

impl Worker {
    fn with(slots: u32, room: u32) -> Self {
        Self { division: Division::new(slots, room), now: Instant::now() }
    }

    fn enter(&mut self, app: usize) -> Option<Entered> {
        let appid = AppId::try_from(format!("wx{app}").as_str()).expect("a good appid");
        let share = self.division.share_of(&appid);
        self.division.enter(share, false, AN_HOUR, self.now)
    }

    /// Logins of this app come until none is given a slot; answers how many it has then.
    fn fill(&mut self, app: usize) -> u32 {
        while let Some(Entered::Slot) = self.enter(app) {}
        self.held(app)
    }

    fn held(&self, app: usize) -> u32 {
        let appid = AppId::try_from(format!("wx{app}").as_str()).expect("a good appid");
        self.division.by_app.get(&appid).map_or(0, |share| self.division.shares[*share].held)
    }

    fn wait(&mut self, app: usize) -> (u64, oneshot::Receiver<()>) {
        match self.enter(app) {
            Some(Entered::Room { ticket, granted }) => (ticket, granted),
            _ => panic!("app {app} has no slot left for it, but room"),
        }
    }

    fn leave(&mut self, app: usize) {
        let appid = AppId::try_from(format!("wx{app}").as_str()).expect("a good appid");
        let share = self.division.share_of(&appid);
        self.division.leave(share, self.now);
    }
}

fn is_granted(granted: &mut oneshot::Receiver<()>) -> bool {
    granted.try_recv().is_ok()
}

#[test]
fn one_busy_app_has_three_quarters_of_the_slots_and_the_last_one_stays_free() {
    for (slots, expected) in [(256, 192), (64, 48), (8, 6), (4, 3), (3, 2), (2, 1), (1, 1)] {
        assert_eq!(Worker::with(slots, 0).fill(0), expected, "of {slots}");
    }
}

#[test]
fn of_several_that_hang_each_has_a_part_and_a_newcomer_finds_a_slot() {
    for (apps, expected) in [(2, 27), (3, 19), (5, 12), (10, 6)] {
        let mut worker = Worker::with(64, 0);
        for app in (0..100).map(|n| n % apps) {
            worker.enter(app);
        }
        let held: Vec<_> = (0..apps).map(|app| worker.held(app)).collect();
        let (least, most) = (held.iter().min().expect("some"), held.iter().max().expect("some"));
        assert!((expected - 1..=expected).contains(least) && (expected..=expected + 1).contains(most), "{held:?}");
        assert!(matches!(worker.enter(apps), Some(Entered::Slot)), "{held:?}");
    }
}

#[test]
fn an_app_that_is_alone_has_all_slots_and_then_waits_in_the_queue() {
    let mut worker = Worker::with(64, 64);
    let share = worker.division.share_of(&AppId::try_from("wx0").expect("a good appid"));
    for _ in 0..64 {
        assert!(matches!(worker.division.enter(share, true, AN_HOUR, worker.now), Some(Entered::Slot)));
    }
    assert!(worker.division.enter(share, true, AN_HOUR, worker.now).is_none());
}

#[test]
fn within_an_app_who_came_first_has_the_first_free_slot() {
    let mut worker = Worker::with(4, 8);
    worker.fill(0);
    // The fill itself left one in the room.
    let (_, mut second) = worker.wait(0);
    let (_, mut third) = worker.wait(0);
    worker.leave(0);
    assert!(!is_granted(&mut second), "the one of the fill was first");
    worker.leave(0);
    assert!(is_granted(&mut second) && !is_granted(&mut third));
    worker.leave(0);
    assert!(is_granted(&mut third));
}

#[test]
fn a_freed_slot_goes_to_the_apps_in_turn_whosever_it_was() {
    let mut worker = Worker::with(8, 32);
    let mut waiting = vec![];
    for app in [0, 1].repeat(6) {
        if let Some(Entered::Room { granted, .. }) = worker.enter(app) {
            waiting.push((app, granted));
        }
    }
    assert_eq!((worker.held(0), worker.held(1), waiting.len()), (3, 3, 6));
    let mut order = vec![];
    for leaves in [0, 0, 1, 1] {
        worker.leave(leaves);
        order.extend(waiting.extract_if(.., |(_, granted)| is_granted(granted)).map(|(app, _)| app));
    }
    assert_eq!(order, [0, 1, 0, 1]);
}

#[test]
fn who_withdraws_gives_back_what_it_was_granted_meanwhile() {
    let mut worker = Worker::with(2, 8);
    worker.fill(0);
    let (first, second) = (worker.division.last_ticket, worker.wait(0));
    worker.division.withdraw(0, first, worker.now);
    worker.leave(0);
    assert_eq!(worker.held(0), 1, "the slot went to the second");
    worker.division.withdraw(0, second.0, worker.now);
    assert_eq!((worker.held(0), worker.division.slots_free, worker.division.room_free), (0, 2, 8));
}

#[test]
fn the_room_is_divided_like_the_slots() {
    let mut worker = Worker::with(4, 8);
    worker.fill(0);
    while worker.enter(0).is_some() {}
    assert_eq!(worker.division.room_free, 2);
    worker.fill(1);
    assert_eq!(worker.held(1), 1, "there was a slot for it");
    assert_eq!(worker.division.room_free, 1, "and there is room for its next");
}

#[test]
fn only_an_app_that_is_slow_is_declined_and_only_where_its_part_of_the_room_is_full() {
    let mut worker = Worker::with(8, 8);
    worker.fill(0);
    for _ in 0..6 {
        worker.division.begin_asking(0, worker.now);
    }
    while worker.enter(0).is_some() {}
    assert!(worker.enter(0).is_none(), "it is not slow yet");
    for _ in 0..10 {
        worker.now += Duration::from_secs(1);
        worker.enter(0);
    }
    assert!(matches!(worker.enter(0), Some(Entered::Declined)));
    worker.leave(0);
    assert!(matches!(worker.enter(0), Some(Entered::Room { .. })), "there is room again");
    assert!(matches!(worker.enter(0), Some(Entered::Declined)));
    assert!(matches!(worker.enter(1), Some(Entered::Slot)), "the other app is not concerned");
}

#[test]
fn whatever_happens_nothing_is_lost_and_nobody_waits_who_could_have_a_slot() {
    for seed in 0..200 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let (slots, room) = (dice.u32(1..20), dice.u32(1..20));
        let mut worker = Worker::with(slots, room);
        let mut waiting: Vec<(usize, u64, oneshot::Receiver<()>)> = vec![];
        for _ in 0..400 {
            let app = dice.usize(0..5);
            match dice.u8(0..8) {
                0..4 => {
                    if let Some(Entered::Room { ticket, granted }) = worker.enter(app) {
                        waiting.push((app, ticket, granted));
                    }
                }
                4 if !waiting.is_empty() => {
                    // Its ticket may have been granted already.
                    let (app, ticket, _) = waiting.swap_remove(dice.usize(0..waiting.len()));
                    let share = worker.division.by_app[&AppId::try_from(format!("wx{app}").as_str()).expect("good")];
                    worker.division.withdraw(share, ticket, worker.now);
                }
                _ if worker.held(app) > 0 => {
                    waiting.retain_mut(|(_, _, granted)| !is_granted(granted));
                    worker.leave(app);
                }
                _ => {}
            }
            check(&worker.division, slots, room);
        }
    }
}

fn check(division: &Division, slots: u32, room: u32) {
    let held: u32 = division.shares.iter().map(|share| share.held).sum();
    let waiting: usize = division.shares.iter().map(|share| share.waiting.len()).sum();
    assert_eq!((held + division.slots_free, waiting as u32 + division.room_free), (slots, room));
    let mut turns: Vec<_> = division.turns.iter().copied().collect();
    turns.sort_unstable();
    let wait: Vec<_> = (0..division.shares.len()).filter(|share| !division.shares[*share].waiting.is_empty()).collect();
    assert_eq!(turns, wait, "each app that waits has one turn");
    for share in wait {
        assert!(!fits(division.shares[share].held, division.slots_free), "it waits, and could have a slot");
    }
}
