//! The line as a whole, under paused time: logins come, hold their slots for as long as WeChat takes, and leave.

use std::collections::BTreeMap;

use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::*;

const A: &str = "wxa";
const B: &str = "wxb";
const C: &str = "wxc";

/// Time enough.
const AN_HOUR: Duration = Duration::from_secs(3600);

fn in_an_hour() -> Instant {
    Instant::now() + AN_HOUR
}

/// What became of an app's logins.
#[derive(Default)]
struct Told {
    succeeded: usize,
    declined: usize,
    /// From the moment when they came to the line until they had a slot, longest last.
    waited: Vec<Duration>,
}

/// One login: when it comes, whose it is, how long WeChat takes, and whether it then has its number.
#[derive(Clone, Copy)]
struct Login {
    at_ms: u64,
    app: &'static str,
    takes_ms: u64,
    succeeds: bool,
}

/// Logins of one app, evenly spread.
fn load(app: &'static str, every_ms: f64, count: usize, takes_ms: u64) -> Vec<Login> {
    let succeeds = takes_ms < 5_000;
    (0..count).map(|n| Login { at_ms: (n as f64 * every_ms) as u64, app, takes_ms, succeeds }).collect()
}

/// Plays all of them through one line, in the order in which they come; a login whose line is stopped comes late.
async fn play(slots: usize, loads: Vec<Vec<Login>>) -> BTreeMap<&'static str, Told> {
    let (shares, told, tasks) = (Shares::new(slots, Meters::new()), Arc::default(), TaskTracker::new());
    let mut logins: Vec<_> = loads.into_iter().flatten().collect();
    logins.sort_by_key(|login| login.at_ms);
    let began = Instant::now();
    for login in logins {
        let due = began + Duration::from_millis(login.at_ms);
        tokio::time::sleep_until(due).await;
        let standing = shares.enter(&AppId::try_from(login.app).expect("a good appid"), false, in_an_hour()).await;
        tasks.spawn(walk(login, due, standing, Arc::clone(&told)));
    }
    tasks.close();
    tasks.wait().await;
    let told: Arc<Mutex<BTreeMap<_, Told>>> = told;
    let mut told = std::mem::take(&mut *told.lock().expect("nobody panics"));
    told.values_mut().for_each(|told| told.waited.sort_unstable());
    told
}

async fn walk(login: Login, due: Instant, standing: Standing, told: Arc<Mutex<BTreeMap<&'static str, Told>>>) {
    let slot = match standing {
        Standing::Slot(slot) => Some(slot),
        Standing::Room(waiting) => timeout(Duration::from_secs(20), waiting.turn()).await.ok(),
        Standing::Unasked(_) => None,
    };
    let waited = due.elapsed();
    let Some(slot) = slot else {
        told.lock().expect("nobody panics").entry(login.app).or_default().declined += 1;
        return;
    };
    let asking = slot.ask();
    sleep(Duration::from_millis(login.takes_ms)).await;
    if login.succeeds {
        asking.succeeded_at_once();
    } else {
        drop(asking);
    }
    drop(slot);
    let mut told = told.lock().expect("nobody panics");
    let told = told.entry(login.app).or_default();
    told.succeeded += usize::from(login.succeeds);
    told.waited.push(waited);
}

#[tokio::test(start_paused = true)]
async fn beside_an_app_that_hangs_from_one_moment_to_the_next_nobody_waits() {
    let well = load(A, 10.0, 200, 100);
    let hangs = load(A, 5.0, 12_000, 20_000).into_iter().map(|login| Login { at_ms: login.at_ms + 2_000, ..login });
    let told = play(64, vec![well, hangs.collect(), load(B, 20.0, 3_000, 100)]).await;
    assert_eq!((told[B].succeeded, told[B].declined), (3_000, 0));
    let late = told[B].waited.iter().filter(|waited| **waited > Duration::from_millis(20)).count();
    assert!(late <= 3, "{late} of 3,000, longest {:?}", told[B].waited.last());
    assert_eq!(told[A].succeeded, 200);
    assert!(told[A].declined > 11_000, "{}", told[A].declined);
}

#[tokio::test(start_paused = true)]
async fn beside_two_that_hang_a_third_does_not_wait() {
    let told = play(64, vec![load(A, 7.0, 5_000, 20_000), load(B, 7.0, 5_000, 3_000), load(C, 20.0, 1_500, 80)]).await;
    assert_eq!((told[C].succeeded, told[C].declined), (1_500, 0));
    let late = told[C].waited.iter().filter(|waited| **waited > Duration::from_millis(20)).count();
    assert!(late <= 7, "{late} of 1,500, longest {:?}", told[C].waited.last());
}

#[tokio::test(start_paused = true)]
async fn a_backlog_of_a_healthy_app_is_worked_off_by_three_quarters_of_the_slots_at_all_times() {
    let backlog: Vec<_> = (0..20_000)
        // One in a hundred is asked again and again, for many seconds.
        .map(|n| Login { at_ms: 0, app: A, takes_ms: if n % 100 == 99 { 6_000 } else { 100 }, succeeds: true })
        .collect();
    let began = Instant::now();
    let told = play(64, vec![backlog, load(B, 100.0, 100, 100)]).await;
    assert_eq!((told[A].succeeded, told[A].declined), (20_000, 0));
    assert_eq!((told[B].succeeded, told[B].declined), (100, 0));
    let least = Duration::from_millis((19_800 * 100 + 200 * 6_000) / 48);
    assert!(began.elapsed() < least + Duration::from_secs(7), "{:?}, and at least {least:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_wechat_that_is_slow_for_everybody_declines_nobody() {
    let told = play(64, vec![load(A, 5.0, 2_000, 1_000)]).await;
    assert_eq!((told[A].succeeded, told[A].declined), (2_000, 0), "alone");
    let told = play(64, vec![load(A, 10.0, 1_000, 1_000), load(B, 10.0, 1_000, 1_200)]).await;
    assert_eq!((told[A].declined, told[B].declined), (0, 0), "together");
}

/// Logins of one app, evenly spread; those that come after two seconds take longer.
fn slowing_down(app: &'static str, every_ms: f64, count: usize, takes_ms: u64) -> Vec<Login> {
    let logins = load(app, every_ms, count, takes_ms);
    logins
        .into_iter()
        .map(|login| Login { takes_ms: if login.at_ms < 2000 { 50 } else { takes_ms }, ..login })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_wechat_that_becomes_slow_for_everybody_at_once_declines_nobody() {
    for takes_ms in [400, 1000] {
        for every_ms in [20.0, 50.0, 300.0] {
            let (busy, quiet) = (slowing_down(A, 1.5, 8000, takes_ms), slowing_down(B, every_ms, 200, takes_ms));
            let told = play(64, vec![busy, quiet]).await;
            assert_eq!((told[A].declined, told[B].declined), (0, 0), "{takes_ms} ms, B every {every_ms} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_app_that_is_slow_beside_a_quick_one_is_declined_what_it_cannot_have() {
    let told = play(64, vec![load(A, 5.0, 4_000, 1_000), load(B, 20.0, 1_000, 100)]).await;
    assert_eq!((told[B].succeeded, told[B].declined), (1_000, 0));
    assert!(told[B].waited[989] < Duration::from_millis(20), "{:?}", told[B].waited[989]);
    assert!(told[A].declined > 2_000 && told[A].succeeded > 900, "{} {}", told[A].declined, told[A].succeeded);
}

#[tokio::test(start_paused = true)]
async fn an_app_that_hung_and_recovered_is_soon_declined_no_more() {
    // All its slots are taken for five seconds; what comes from then on takes no longer than it should.
    let (hangs, well) = (load(A, 5.0, 48, 5_000), load(A, 10.0, 3_000, 100));
    let told = play(64, vec![hangs, well, load(B, 20.0, 1_500, 100)]).await;
    assert!((300..550).contains(&told[A].declined), "{}", told[A].declined);
    assert_eq!(told[A].succeeded + told[A].declined, 3_000);
    assert_eq!(told[B].declined, 0);
}

#[tokio::test(start_paused = true)]
async fn a_login_that_panics_in_its_slot_or_leaves_the_room_stands_in_nobodys_way() {
    let (shares, appid) = (Shares::new(2, Meters::new()), AppId::try_from(A).expect("a good appid"));
    let Standing::Slot(slot) = shares.enter(&appid, false, in_an_hour()).await else { panic!("both are free") };
    let Standing::Room(first) = shares.enter(&appid, false, in_an_hour()).await else { panic!("one is for others") };
    let Standing::Slot(other) = shares.enter(&AppId::try_from(B).expect("a good appid"), false, in_an_hour()).await
    else {
        panic!("one is for others")
    };
    drop(first);
    let Standing::Room(second) = shares.enter(&appid, false, in_an_hour()).await else { panic!("one is for others") };
    let panics = tokio::spawn(async move {
        let _asking = slot.ask();
        panic!("as a bug would");
    });
    assert!(panics.await.is_err());
    drop(other);
    timeout(Duration::from_secs(1), second.turn()).await.expect("its turn comes");
    assert_eq!(
        shares.division().enter(0, true, AN_HOUR, Instant::now()).map(|_| ()),
        Some(()),
        "and it has left its slot too"
    );
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_counted_until_it_has_its_slot() {
    let meters = Meters::new();
    let (shares, appid) = (Shares::new(2, meters.clone()), AppId::try_from(A).expect("a good appid"));
    let slot = shares.enter(&appid, false, in_an_hour()).await;
    let Standing::Room(waiting) = shares.enter(&appid, false, in_an_hour()).await else { panic!("one is for others") };
    assert!(meters.render().contains("quicklogin_logins_waiting_for_share 1\n"), "{}", meters.render());
    drop(slot);
    let _slot = waiting.turn().await;
    assert!(meters.render().contains("quicklogin_logins_waiting_for_share 0\n"), "{}", meters.render());
}

/// Logins of one app come every so often, each with so much time, and calls take 60 to 100 ms; one slot serves 12 a
/// second. Answers how many were served in time, how many too late, and how many were not asked.
async fn burst(slots: usize, every: Duration, logins: u32, time: Duration) -> [usize; 3] {
    let (shares, tasks) = (Shares::new(slots, Meters::new()), TaskTracker::new());
    let counts: Arc<Mutex<[usize; 3]>> = Arc::default();
    let (appid, began) = (AppId::try_from(A).expect("a good appid"), Instant::now());
    for n in 0..logins {
        let came = began + every * n;
        tokio::time::sleep_until(came).await;
        let standing = shares.enter(&appid, true, came + time).await;
        let (counts, took) = (Arc::clone(&counts), Duration::from_millis(60 + u64::from(n * 7 % 41)));
        tasks.spawn(async move {
            let what = match standing {
                Standing::Slot(slot) => {
                    let asking = slot.ask();
                    sleep(took).await;
                    asking.succeeded_at_once();
                    usize::from(Instant::now() > came + time)
                }
                _ => 2,
            };
            counts.lock().expect("nobody panics")[what] += 1;
        });
    }
    tasks.close();
    tasks.wait().await;
    *counts.lock().expect("nobody panics")
}

#[tokio::test(start_paused = true)]
async fn of_ten_times_too_many_logins_as_many_are_served_in_time_as_slots_can_serve() {
    let (slots, seconds, time) = (8, 30, Duration::from_secs(3));
    let [in_time, too_late, unasked] = burst(slots, Duration::from_millis(1), seconds * 1000, time).await;
    let capacity = slots * seconds as usize * 1000 / 80;
    assert!(in_time * 100 >= capacity * 90, "{in_time} of {capacity}");
    assert!(too_late * 100 <= in_time * 5, "{too_late} codes were spent for nothing, beside {in_time}");
    assert_eq!(in_time + too_late + unasked, seconds as usize * 1000);
}

#[tokio::test(start_paused = true)]
async fn where_slots_are_free_a_login_is_asked_however_little_time_it_has() {
    let time = Duration::from_millis(70);
    let [in_time, too_late, unasked] = burst(8, Duration::from_millis(20), 1000, time).await;
    assert_eq!(unasked, 0);
    assert!(in_time > 200 && too_late > 200, "some calls are quick enough: {in_time}, {too_late}");
}
