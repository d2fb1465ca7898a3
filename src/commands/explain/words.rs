//! What the words of a result mean, in English and Chinese: each reason and each advice.

use crate::login::{Advice, Reason};

/// A reason or an advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Reason(Reason),
    Advice(Advice),
}

/// The same in each language.
#[derive(Debug, Clone, Copy)]
pub(super) struct Texts {
    pub(super) english: &'static str,
    pub(super) chinese: &'static str,
}

/// What a word means, when a result has it, and what to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Explanation {
    pub(super) meaning: Texts,
    pub(super) when: Texts,
    pub(super) caller: Texts,
    pub(super) operator: Texts,
}

impl Word {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        Reason::ALL.into_iter().map(Self::Reason).chain(Advice::ALL.into_iter().map(Self::Advice))
    }

    /// The word that is meant, in whatever case and with whichever dashes.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = normalised(text);
        Self::all().find(|word| word.as_str() == text)
    }

    /// Those that are spelled alike, the nearest first.
    pub(super) fn near(text: &str) -> Vec<&'static str> {
        let text = normalised(text);
        let likeness = |word: &str| strsim::jaro_winkler(word, &text);
        let mut near: Vec<_> = Self::all().map(|word| (likeness(word.as_str()), word.as_str())).collect();
        near.retain(|(likeness, word)| *likeness > 0.8 || (text.len() > 3 && word.contains(&text)));
        near.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        near.into_iter().take(3).map(|(_, word)| word).collect()
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Reason(reason) => reason.as_str(),
            Self::Advice(advice) => advice.as_str(),
        }
    }

    /// What kind of word it is, for programs.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Reason(_) => "reason",
            Self::Advice(_) => "advice",
        }
    }

    pub(super) fn explanation(self) -> Explanation {
        match self {
            Self::Reason(reason) => of_reason(reason),
            Self::Advice(advice) => of_advice(advice),
        }
    }

    /// The advices that a result of this reason may have.
    pub(super) fn advices(self) -> Vec<&'static str> {
        match self {
            Self::Reason(Reason::TokenUnavailable) => vec![Advice::FixSetup.as_str(), Advice::TryLater.as_str()],
            Self::Reason(reason) => vec![reason.advice().as_str()],
            Self::Advice(_) => vec![],
        }
    }

    /// The reasons whose results may have this advice.
    pub(super) fn reasons(self) -> Vec<&'static str> {
        let has = |reason: &Reason| Self::Reason(*reason).advices().contains(&self.as_str());
        Reason::ALL.iter().filter(|reason| has(reason)).map(|reason| reason.as_str()).collect()
    }
}

fn normalised(text: &str) -> String {
    text.trim().to_lowercase().replace(['-', ' '], "_")
}

const fn texts(english: &'static str, chinese: &'static str) -> Texts {
    Texts { english, chinese }
}

const NEW_CODE: Texts = texts(
    "Ask the user to tap the button again: this code is worth nothing any more.",
    "请用户重新点击获取手机号按钮：该 code 已不可用。",
);
const LATER: Texts = texts(
    "Offer another way to log in, or ask the user to tap the button again later.",
    "提供其他登录方式，或请用户稍后再次点击按钮。",
);
const OTHER_WAY: Texts = texts(
    "Offer another way to log in until the setup is corrected; a new code fails in the same way.",
    "在配置更正之前请提供其他登录方式；换一个 code 也会同样失败。",
);
const NOTHING: Texts =
    texts("Nothing, unless there are more of them than usual.", "一般无需处理，除非数量明显多于平时。");

#[rustfmt::skip]
fn of_reason(reason: Reason) -> Explanation {
    match reason {
        Reason::InvalidRequest => Explanation {
            meaning: texts("The request has an id but cannot be served.", "请求有 request_id，但内容不合规，无法处理。"),
            when: texts("A field is missing, too long or of the wrong type; detail says which. WeChat was not called, and the code is not spent.", "某个字段缺失、过长或类型不对，detail 会指明是哪一个。没有调用微信，code 未被消耗。"),
            caller: texts("Correct the program that builds the request. The user can do nothing.", "请修正构造请求的程序；用户无法自行解决。"),
            operator: texts("Tell the developer of the caller what detail says.", "把 detail 的内容告知调用方开发者。"),
        },
        Reason::UnknownApp => Explanation {
            meaning: texts("No app of this appid is configured in the worker.", "worker 的配置中没有该 appid。"),
            when: texts("The appid is missing while several apps are configured, or it is misspelled, or the app is new and the worker has not read its settings again. WeChat was not called.", "配置了多个小程序而请求未带 appid，或 appid 写错，或新增小程序后 worker 尚未重新读取配置。没有调用微信。"),
            caller: texts("Send the appid of the mini program that the code came from.", "请传入产生该 code 的小程序的 appid。"),
            operator: texts("If the app is new: add it to [[apps]] and send SIGHUP to the workers first, then to the gateways.", "如为新增小程序：请加入 [[apps]]，先向 worker、再向网关发送 SIGHUP。"),
        },
        Reason::Expired => Explanation {
            meaning: texts("The login's time was up before WeChat could be called.", "还没来得及调用微信，登录的时限已到。"),
            when: texts("The code is older than login.code_life_s, or the deadline of the request has passed: the queue is long, no worker was running, or issued_at is wrong.", "code 已超过 login.code_life_s，或请求的 deadline 已过：队列过长、没有 worker 运行，或 issued_at 不正确。"),
            caller: NEW_CODE,
            operator: texts("Look at the length of the queue and at the number of workers; compare the clocks of the machines.", "检查队列长度和 worker 数量，并核对各机器时钟。"),
        },
        Reason::InvalidCode => Explanation {
            meaning: texts("WeChat does not take the code (40029), and every call of this login got a response.", "微信不接受该 code（40029），且本次登录的每次调用都收到了响应。"),
            when: texts("The code was used before, is older than five minutes, or is of another kind, such as a wx.login code. A few in a thousand are normal.", "code 已使用、已超过五分钟，或不是手机号按钮返回的 code（例如误用了 wx.login 的 code）。千分之几属正常。"),
            caller: NEW_CODE,
            operator: texts("If there are many: look whether another system uses the same codes, or the caller sends wx.login codes.", "如大量出现：请检查是否有其他系统使用同一 code，或调用方误传了 wx.login 的 code。"),
        },
        Reason::InDoubt => Explanation {
            meaning: texts("The code may have been spent, and its phone number was not received.", "code 可能已被消耗，但没有收到手机号。"),
            when: texts("WeChat's response to a call was lost (cut connection, timeout, HTTP 504, crashed or killed worker), and after it WeChat answered 40029 or the time was up.", "某次调用的响应丢失（连接中断、超时、HTTP 504、worker 崩溃或被杀），此后微信返回 40029 或时限已到。"),
            caller: NEW_CODE,
            operator: texts("If there are more than usual: look at the network to WeChat, at wechat.timeout_ms, and for workers that crash or are killed before worker.drain_s is over.", "如多于平时：请检查到微信的网络、wechat.timeout_ms，以及是否有 worker 崩溃或在 worker.drain_s 结束前被杀。"),
        },
        Reason::AppMismatch => Explanation {
            meaning: texts("The code or the phone number belongs to another mini program.", "code 或手机号属于另一个小程序。"),
            when: texts("WeChat answers 40013, or the watermark of its response names another appid than the request.", "微信返回 40013，或响应水印中的 appid 与请求不符。"),
            caller: texts("Send the appid of the mini program that the code came from.", "请传入产生该 code 的小程序的 appid。"),
            operator: texts("Check that appid and secret of the app in [[apps]] belong together.", "请确认 [[apps]] 中该小程序的 appid 与 secret 对应。"),
        },
        Reason::NotAllowed => Explanation {
            meaning: texts("The app, or the third-party platform that acts for it, may not call this.", "该小程序或代其调用的第三方平台没有此接口权限。"),
            when: texts("WeChat answers 48001, 48004, 50002, 61003, 61004, 61007, 40097 or 402xx. After three in a row the app's logins get this result without a call, until a probe succeeds.", "微信返回 48001、48004、50002、61003、61004、61007、40097 或 402xx。连续三次后，该小程序的登录不再调用微信而直接得到此结果，直到探测成功。"),
            caller: OTHER_WAY,
            operator: texts("Act on the errcode: `quicklogin explain ERRCODE` says what it wants. Then send SIGHUP to the workers, which try again at once.", "按错误码处理：`quicklogin explain 错误码` 会说明办法。之后向 worker 发送 SIGHUP，即会立即重试。"),
        },
        Reason::Throttled => Explanation {
            meaning: texts("WeChat's quota was used up until the patience ended.", "直到等待时限结束，微信的调用额度都已用完。"),
            when: texts("WeChat answers 45009 (daily quota), 45011 (per minute) or HTTP 429. The code is not spent.", "微信返回 45009（当日额度）、45011（每分钟频率）或 HTTP 429。code 未被消耗。"),
            caller: LATER,
            operator: texts("Look at the quota in the mini program's console; find out what else calls WeChat for this app.", "请在小程序后台查看额度，并排查还有哪些系统在调用。"),
        },
        Reason::Unavailable => Explanation {
            meaning: texts("WeChat could not serve the login in time, and the code is surely not spent.", "微信未能及时处理，且 code 肯定未被消耗。"),
            when: texts("WeChat was busy (-1), answered HTTP 5xx or could not be reached until the patience ended; or the app has more logins than its share of the worker.", "直到等待时限结束，微信都繁忙（-1）、返回 HTTP 5xx 或无法连接；或该小程序的登录超出其在 worker 中的份额。"),
            caller: LATER,
            operator: texts("Look whether the workers reach wechat.base_url, and at quicklogin_logins_declined_total: if it grows, run more workers.", "检查 worker 能否连接 wechat.base_url；若 quicklogin_logins_declined_total 在增长，请增加 worker。"),
        },
        Reason::TokenUnavailable => Explanation {
            meaning: texts("The worker could not get an access token of the app.", "worker 无法取得该小程序的 access_token。"),
            when: texts("WeChat refuses (errcode says why: 40125 wrong AppSecret, 40164 IP list and others), or it, or the system that owns the token, is away.", "微信拒绝（见错误码：40125 AppSecret 错误、40164 IP 白名单等），或者微信、或 token 所属系统暂时不可用。"),
            caller: texts("As the advice of the result says: fix_setup offer another way to log in; try_later tap again later.", "按结果中的 advice 处理：fix_setup 请提供其他登录方式；try_later 请稍后再点击。"),
            operator: texts("`quicklogin token show` says which app, and why; `quicklogin explain ERRCODE` what to do.", "`quicklogin token show` 显示是哪个小程序及原因；`quicklogin explain 错误码` 说明办法。"),
        },
        Reason::BadAnswer => Explanation {
            meaning: texts("WeChat's response has no phone number, or cannot be read.", "微信的响应中没有手机号，或无法解析。"),
            when: texts("errcode 0 without a phone number, or a body that is not WeChat's JSON, from a proxy for instance. The code may be spent.", "errcode 为 0 但没有手机号，或响应不是微信的 JSON（例如来自代理）。code 可能已被消耗。"),
            caller: NEW_CODE,
            operator: texts("Look what stands between the workers and WeChat (proxy, firewall), and at wechat.base_url.", "检查 worker 与微信之间的代理或防火墙，以及 wechat.base_url。"),
        },
        Reason::Refused => Explanation {
            meaning: texts("WeChat refused the call with an errcode that has no reason of its own.", "微信以其他错误码拒绝了调用。"),
            when: texts("Any errcode that no other reason names; errcode and errmsg are in the result.", "其他原因未涵盖的错误码；结果中有 errcode 和 errmsg。"),
            caller: NEW_CODE,
            operator: texts("`quicklogin explain ERRCODE` may know it; WeChat's list of global return codes does.", "可执行 `quicklogin explain 错误码`，或查阅微信全局返回码。"),
        },
    }
}

#[rustfmt::skip]
fn of_advice(advice: Advice) -> Explanation {
    match advice {
        Advice::NewCode => Explanation {
            meaning: texts("The user should tap the button again.", "请用户重新点击按钮。"),
            when: texts("The code is spent, too old, or may be; a new one has every chance.", "code 已被消耗、已过期或状态不明；换一个新的 code 很可能成功。"),
            caller: NEW_CODE,
            operator: NOTHING,
        },
        Advice::TryLater => Explanation {
            meaning: texts("The trouble passes by itself.", "问题会自行恢复。"),
            when: texts("WeChat is busy, away or over its quota, or too many logins wait.", "微信繁忙、不可用或额度用完，或等待的登录过多。"),
            caller: LATER,
            operator: NOTHING,
        },
        Advice::FixRequest => Explanation {
            meaning: texts("The request is wrong: a bug in the caller.", "请求有误，是调用方的缺陷。"),
            when: texts("A field is missing or wrong, or the appid is not the code's.", "字段缺失或错误，或 appid 与 code 不符。"),
            caller: texts("Correct the program that builds the request. The user can do nothing.", "请修正构造请求的程序；用户无法自行解决。"),
            operator: texts("Tell the developer of the caller; check that the app is in [[apps]].", "告知调用方开发者，并确认该小程序已加入 [[apps]]。"),
        },
        Advice::FixSetup => Explanation {
            meaning: texts("An operator must act; until then every login of this app fails.", "需要运维处理；在此之前该小程序的登录都会失败。"),
            when: texts("The AppSecret, the IP list, a permission or an authorisation is not as WeChat wants it.", "AppSecret、IP 白名单、接口权限或授权不符合微信要求。"),
            caller: OTHER_WAY,
            operator: texts("`quicklogin explain ERRCODE` with the errcode of the result says what to do.", "用结果中的错误码执行 `quicklogin explain 错误码`，会说明办法。"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_explained_in_both_languages_and_read_as_it_is_written() {
        for word in Word::all() {
            let Explanation { meaning, when, caller, operator } = word.explanation();
            for Texts { english, chinese } in [meaning, when, caller, operator] {
                assert!(english.ends_with('.') && english.is_ascii(), "{word:?}: {english}");
                assert!(chinese.ends_with('。'), "{word:?}: {chinese}");
            }
            assert_eq!(Word::read(word.as_str()), Some(word));
            assert_eq!(Word::read(&word.as_str().to_uppercase().replace('_', "-")), Some(word));
        }
    }

    #[test]
    fn a_misspelled_word_is_near_the_one_that_is_meant() {
        for (text, meant) in [
            ("indoubt", "in_doubt"),
            ("in_dobt", "in_doubt"),
            ("expird", "expired"),
            ("token", "token_unavailable"),
            ("throtled", "throttled"),
            ("invalidcode", "invalid_code"),
            ("newcode", "new_code"),
            ("refuse", "refused"),
        ] {
            assert_eq!(Word::read(text), None);
            assert!(Word::near(text).contains(&meant), "{text}: {:?}", Word::near(text));
        }
        assert!(Word::near("zzz").is_empty());
    }

    #[test]
    fn an_advice_names_the_reasons_that_have_it() {
        assert_eq!(Word::Advice(Advice::TryLater).reasons(), ["throttled", "unavailable", "token_unavailable"]);
        assert_eq!(Word::Advice(Advice::FixSetup).reasons(), ["not_allowed", "token_unavailable"]);
        assert_eq!(Word::Reason(Reason::InDoubt).advices(), ["new_code"]);
    }
}
