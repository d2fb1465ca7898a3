//! What turns tell about hosts, and whose turn it is then, under a clock of their own.

use super::Told::{Answered, Unheard, Unreachable};
use super::*;

const LOOK: Duration = Duration::from_secs(5);

/// A memory of three hosts, and a clock that a test moves by hand; dice fall on the longest pause.
struct Table {
    memory: Memory,
    now: Instant,
}

impl Table {
    fn new() -> Self {
        Self { memory: Memory::new(3, LOOK), now: Instant::now() }
    }

    fn after(&mut self, ms: u64) -> &mut Self {
        self.now += Duration::from_millis(ms);
        self
    }

    fn turn(&mut self, tried: &[usize]) -> Turn {
        self.memory.turn(tried, self.now).expect("a host is left")
    }

    /// Which host a call that begins now tries first.
    fn first(&mut self) -> usize {
        self.turn(&[]).host
    }

    fn learn(&mut self, turn: Turn, told: Told) -> Option<Change> {
        self.memory.learn(turn, told, self.now, 1.0)
    }

    /// The turn that is due next, which ends a moment later like this.
    fn goes(&mut self, tried: &[usize], told: Told) -> (usize, Option<Change>) {
        let turn = self.turn(tried);
        self.after(1);
        (turn.host, self.learn(turn, told))
    }
}

#[test]
fn the_first_host_is_used_while_it_is_well_whatever_it_answers() {
    let mut table = Table::new();
    for told in [Answered, Unheard, Answered] {
        assert_eq!(table.goes(&[], told), (0, None));
    }
}

#[test]
fn a_call_tries_every_host_once_in_order() {
    let mut table = Table::new();
    assert_eq!(table.goes(&[], Unreachable), (0, Some(Change::Down { instead: Some(1) })));
    assert_eq!(table.goes(&[0], Unreachable), (1, Some(Change::Down { instead: Some(2) })));
    assert_eq!(table.goes(&[0, 1], Unreachable), (2, Some(Change::Down { instead: None })));
    assert_eq!(table.memory.turn(&[0, 1, 2], table.now), None);
}

#[test]
fn a_host_that_cannot_be_reached_is_left_alone_for_1_s_doubling_to_30_s() {
    let mut table = Table::new();
    table.goes(&[], Unreachable);
    for pause_ms in [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
        assert_eq!(table.after(pause_ms - 1).first(), 1, "after nearly {pause_ms} ms");
        assert_eq!(table.after(1).goes(&[], Unreachable), (0, None), "after {pause_ms} ms");
    }
}

#[test]
fn one_call_looks_at_a_host_whose_pause_is_over_and_the_others_do_not_wait_for_it() {
    let mut table = Table::new();
    table.goes(&[], Unreachable);
    let look = table.after(1000).turn(&[]);
    assert_eq!((look.host, table.first(), table.first()), (0, 1, 1));
    assert_eq!(table.after(2000).learn(look, Answered), Some(Change::Well));
    assert_eq!((table.first(), table.first()), (0, 0));
    assert_eq!(table.goes(&[], Unreachable), (0, Some(Change::Down { instead: Some(1) })));
    assert_eq!(table.after(1000).first(), 0, "the pause is short again");
}

#[test]
fn a_look_that_never_ends_is_followed_by_another() {
    let mut table = Table::new();
    table.goes(&[], Unreachable);
    assert_eq!(table.after(1000).first(), 0);
    assert_eq!(table.after(LOOK.as_millis() as u64 - 1).first(), 1);
    assert_eq!(table.after(1).first(), 0);
}

#[test]
fn a_look_whose_answer_is_not_heard_is_in_vain() {
    let mut table = Table::new();
    table.goes(&[], Unreachable);
    assert_eq!(table.after(1000).goes(&[], Unheard), (0, None));
    assert_eq!(table.after(1999).first(), 1);
    assert_eq!(table.after(1).first(), 0);
}

#[test]
fn many_that_fail_at_once_are_one_failure() {
    let mut table = Table::new();
    let calls: Vec<_> = (0..100).map(|_| table.turn(&[])).collect();
    let changes = calls.iter().filter(|call| table.after(1).learn(**call, Unreachable).is_some());
    assert_eq!(changes.count(), 1);
    assert_eq!(table.after(900).first(), 1, "999 ms after the first of them");
    assert_eq!(table.after(1).first(), 0);
}

#[test]
fn what_began_before_a_change_is_old_news() {
    let mut table = Table::new();
    let (early, late) = (table.turn(&[]), table.turn(&[]));
    table.after(1).goes(&[], Unreachable);
    assert_eq!(table.learn(early, Answered), None, "it was answered by what is gone now");
    assert_eq!(table.first(), 1);
    assert_eq!(table.after(1000).goes(&[], Answered), (0, Some(Change::Well)));
    assert_eq!(table.learn(late, Unreachable), None, "it has come back since");
    assert_eq!(table.first(), 0);
}

#[test]
fn where_no_host_is_well_the_one_whose_pause_ends_first_is_tried_first() {
    let mut table = Table::new();
    for tried in [&[][..], &[0], &[0, 1]] {
        table.goes(tried, Unreachable);
    }
    table.after(1000);
    assert_eq!([table.goes(&[], Unreachable).0, table.goes(&[0], Unreachable).0], [0, 1], "both for 2 s now");
    assert_eq!(table.goes(&[0, 1], Answered), (2, Some(Change::Well)));
    assert_eq!(table.goes(&[], Unreachable), (2, Some(Change::Down { instead: None })));
    let order = [table.first(), table.turn(&[2]).host, table.turn(&[2, 0]).host];
    assert_eq!(order, [2, 0, 1]);
    assert_eq!(table.goes(&[], Unreachable), (2, None));
    assert_eq!(table.goes(&[2, 0], Answered), (1, Some(Change::Well)), "any success counts");
    assert_eq!(table.first(), 1);
}

#[test]
fn failing_as_the_last_resort_makes_no_pause_longer() {
    let mut table = Table { memory: Memory::new(1, LOOK), now: Instant::now() };
    table.goes(&[], Unreachable);
    for _ in 0..10 {
        assert_eq!(table.goes(&[], Unreachable), (0, None));
    }
    assert!(table.turn(&[]).last_resort);
    assert!(!table.after(990).turn(&[]).last_resort, "its pause is over after a second all the same");
}
