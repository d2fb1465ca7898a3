//! When an app is stopped, and all of them, and when they are asked for again.

use super::*;
use crate::login::WechatAnswer;
use crate::verdict::StopCause;

fn refused(errcode: i64) -> Result<Reply, Fault> {
    Ok(Reply::Refused(WechatAnswer { errcode, errmsg: "text".into(), rid: None }))
}

const NO_PROBES: Probes<'_> = Probes { app: None, wechat: None };

fn app() -> AppId {
    AppId::try_from("wx1").expect("a good appid")
}

fn hear(calls: &AppCalls, errcode: i64) {
    calls.hear(&app(), &refused(errcode), &NO_PROBES, &Meters::new());
}

fn stopped_by(calls: &AppCalls) -> Option<i64> {
    calls.permit().err().map(|(stopped, _)| stopped.errcode())
}

#[tokio::test(start_paused = true)]
async fn the_same_refusal_three_times_in_a_row_stops_an_app() {
    for errcode in [48001, 50004, 61007, 45011, 45009] {
        let calls = AppCalls::default();
        for _ in 0..2 {
            hear(&calls, errcode);
        }
        assert_eq!(stopped_by(&calls), None);
        hear(&calls, errcode);
        assert_eq!(stopped_by(&calls), Some(errcode));
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_of_single_codes_stop_nothing() {
    let calls = AppCalls::default();
    for errcode in [48001, 48004, 61003, 40097, 40097, 40097, 40001, 40001, 40001, -1, -1, -1, 47001, 47001, 47001] {
        hear(&calls, errcode);
    }
    for errcode in [45011, 45011, 40029, 45011, 45011, 40029] {
        hear(&calls, errcode);
    }
    assert_eq!(stopped_by(&calls), None);
}

#[tokio::test(start_paused = true)]
async fn one_probe_after_each_pause_finds_out_when_it_is_mended() {
    let (calls, meters) = (AppCalls::default(), Meters::new());
    for _ in 0..200 {
        hear(&calls, 48001);
    }
    let mut pauses = Vec::new();
    for _ in 0..7 {
        let Err((_, left)) = calls.permit() else { panic!("it is stopped") };
        pauses.push(left);
        tokio::time::advance(left).await;
        let Ok(probes @ Probes { app: Some(_), .. }) = calls.permit() else { panic!("one may probe") };
        assert_eq!(stopped_by(&calls), Some(48001), "and only one");
        calls.hear(&app(), &refused(48001), &probes, &meters);
    }
    assert!(pauses[0] <= Duration::from_secs(1), "two hundred in flight count once: {pauses:?}");
    assert!(pauses[6] >= Duration::from_secs(15) && pauses[6] <= Duration::from_secs(30), "{pauses:?}");
    tokio::time::advance(Duration::from_secs(30)).await;
    let Ok(probes @ Probes { app: Some(_), .. }) = calls.permit() else { panic!("one may probe") };
    calls.hear(&app(), &refused(40029), &probes, &meters);
    drop(probes);
    assert!(matches!(calls.permit(), Ok(Probes { app: None, wechat: None })));
}

fn stopped_in(meters: &Meters) -> String {
    let text = meters.render();
    let line = text.lines().find_map(|line| line.strip_prefix("quicklogin_apps_stopped "));
    line.expect("it is there from the start").to_owned()
}

#[tokio::test(start_paused = true)]
async fn an_app_that_is_asked_for_anew_is_the_same_for_logins_that_were_in_hand() {
    let (calls, meters) = (Calls::default(), Meters::new());
    let in_hand = calls.of(&app());
    let refuse_by = |calls: &AppCalls| (0..3).for_each(|_| calls.hear(&app(), &refused(48001), &NO_PROBES, &meters));
    refuse_by(&in_hand);
    assert_eq!((stopped_by(&in_hand), &*stopped_in(&meters)), (Some(48001), "1"));
    calls.forget(&meters);
    assert_eq!((stopped_by(&in_hand), &*stopped_in(&meters)), (None, "0"));
    refuse_by(&in_hand);
    assert_eq!((stopped_by(&calls.of(&app())), &*stopped_in(&meters)), (Some(48001), "1"), "one app, stopped once");
    drop(in_hand);
    calls.forget(&meters);
    assert_eq!((stopped_by(&calls.of(&app())), &*stopped_in(&meters)), (None, "0"));
}

#[tokio::test(start_paused = true)]
async fn want_of_something_on_this_machine_says_nothing_of_wechat() {
    let (calls, meters) = (Calls::default(), Meters::new());
    let (app_calls, local) = (calls.of(&app()), Err(Fault::Local("out of file descriptors")));
    for _ in 0..100 {
        app_calls.hear(&app(), &local, &NO_PROBES, &meters);
    }
    assert!(app_calls.permit().is_ok(), "WeChat is not away");
    for _ in 0..20 {
        app_calls.hear(&app(), &Err(Fault::Busy(502)), &NO_PROBES, &meters);
        app_calls.hear(&app(), &local, &NO_PROBES, &meters);
    }
    let Err((_, left)) = app_calls.permit() else { panic!("WeChat is away") };
    tokio::time::advance(left).await;
    let Ok(probes @ Probes { wechat: Some(_), .. }) = app_calls.permit() else { panic!("one may probe") };
    app_calls.hear(&app(), &local, &probes, &meters);
    drop(probes);
    let Ok(Probes { wechat: Some(_), .. }) = app_calls.permit() else {
        panic!("the next may probe, and none is let through")
    };
}

#[tokio::test(start_paused = true)]
async fn while_wechat_is_away_one_asks_for_all_apps() {
    let (calls, meters) = (Calls::default(), Meters::new());
    let (one, other) = (calls.of(&app()), calls.of(&AppId::try_from("wx2").expect("a good appid")));
    let away: [Result<Reply, Fault>; 4] = [
        refused(-1),
        Err(Fault::Busy(502)),
        Err(Fault::Unreachable("refused".into())),
        Err(Fault::Unheard("cut".into())),
    ];
    for answer in away.iter().cycle().take(19) {
        one.hear(&app(), answer, &NO_PROBES, &meters);
    }
    assert!(other.permit().is_ok(), "one more");
    one.hear(&app(), &away[3], &NO_PROBES, &meters);
    let Err((stopped, left)) = other.permit() else { panic!("all are stopped") };
    assert_eq!(stopped.cause, StopCause::Away);
    tokio::time::advance(left).await;
    for _ in 0..9 {
        let Ok(probes @ Probes { wechat: Some(_), .. }) = other.permit() else { panic!("one may probe") };
        let Err((_, left)) = one.permit() else { panic!("and only one") };
        assert_eq!(left, Duration::ZERO);
        other.hear(&app(), &away[0], &probes, &meters);
        drop(probes);
        let Err((_, left)) = one.permit() else { panic!("not yet") };
        assert!(left <= Duration::from_secs(1), "{left:?}");
        tokio::time::advance(left).await;
    }
    let Ok(probes) = other.permit() else { panic!("one may probe") };
    other.hear(&app(), &refused(40029), &probes, &meters);
    assert!(one.permit().is_ok(), "any answer will do");
}
