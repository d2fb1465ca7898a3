//! What an errcode means for quicklogin's users, in English and Chinese, and who must act. Sources: WeChat's documents and
//! what its staff answer in the official community.

/// One errcode, explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// WeChat's number.
    pub errcode: i64,
    /// What it means here.
    pub english: &'static str,
    /// The same in Chinese.
    pub chinese: &'static str,
    /// Who must act.
    pub who: Who,
}

/// Who must act on an errcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Nobody: it is handled, or passes.
    Nobody,
    /// The user taps the button again.
    User,
    /// Whoever wrote the calling program.
    Developer,
    /// Whoever runs quicklogin or administers the mini program.
    Operator,
}

impl Who {
    /// In English and Chinese.
    pub fn in_words(self) -> (&'static str, &'static str) {
        match self {
            Self::Nobody => ("nobody: it is handled, or passes", "无需处理：系统会自动处理或稍后恢复"),
            Self::User => ("the user: tap the button again", "用户：请重新点击获取手机号按钮"),
            Self::Developer => ("the developer of the caller", "调用方开发者"),
            Self::Operator => ("an operator", "运维或小程序管理员"),
        }
    }
}

/// The explanation of an errcode; none for one that WeChat's documents do not name in this context.
pub fn explain(errcode: i64) -> Option<&'static Explanation> {
    EXPLANATIONS.iter().find(|explanation| explanation.errcode == errcode)
}

const fn row(errcode: i64, who: Who, english: &'static str, chinese: &'static str) -> Explanation {
    Explanation { errcode, english, chinese, who }
}

#[rustfmt::skip]
const EXPLANATIONS: &[Explanation] = &[
    row(-1, Who::Nobody, "WeChat is busy; the login is asked again within its patience.", "微信系统繁忙，会在等待时限内自动重试。"),
    row(0, Who::Nobody, "Success. An answer without a phone number all the same is told as bad_answer.", "成功。若仍没有手机号，则结果为 bad_answer。"),
    row(40001, Who::Nobody, "The access token was replaced by somebody else's refresh; another is fetched once for the fleet. If it goes on, another system calls cgi-bin/token or force_refresh for this app. A token of another system (external) is its owner's to replace. From a token endpoint: the AppSecret is wrong.", "access_token 已被其他系统刷新，会自动换取新的。若持续出现，说明另有系统在刷新该小程序的 token。external 方式的 token 须由其所属系统更换。若由获取 token 的接口返回，则是 AppSecret 错误。"),
    row(40002, Who::Developer, "WeChat does not know the grant_type of the request for a token; something between quicklogin and WeChat has changed it.", "获取 token 时 grant_type 不正确，可能有中间代理改写了请求。"),
    row(40003, Who::Developer, "The openid is not valid, or the code is not this user's.", "openid 无效，或 code 不属于该用户。"),
    row(40013, Who::Developer, "The code was made for another mini program than the appid says, or the appid is wrong. From a token endpoint: there is no such appid.", "code 与 appid 不属于同一个小程序，或 appid 不正确。若由获取 token 的接口返回，则是 appid 不存在。"),
    row(40014, Who::Nobody, "The access token is malformed; another is fetched.", "access_token 不合法，会自动换取新的。"),
    row(40029, Who::User, "The code was used before, is older than five minutes, or is not a code of the phone-number button (a wx.login code, for instance).", "code 已使用、已超过五分钟，或不是手机号按钮返回的 code（例如误用了 wx.login 的 code）。"),
    row(40097, Who::Operator, "The app has API encryption switched on, which quicklogin does not speak, or WeChat did not take the body.", "小程序开启了接口加密（API 安全），或请求参数不被接受。"),
    row(40125, Who::Operator, "The AppSecret, of the mini program or of the third-party platform, is wrong; perhaps it was reset. Correct secret_file; no restart is needed.", "小程序或第三方平台的 AppSecret 不正确，可能已被重置。请更正 secret_file，无需重启。"),
    row(40164, Who::Operator, "This machine's address is not on the app's IP list; errmsg names it. Only workers that fetch tokens need to be listed.", "服务器 IP 不在小程序的 IP 白名单中（errmsg 中有该 IP），请添加。"),
    row(40234, Who::Operator, "API security is switched on for this app, and the call is not signed.", "小程序开启了接口签名（API 安全），而请求未签名。"),
    row(40235, Who::Operator, "API security is switched on for this app, and the call is not encrypted.", "小程序开启了接口加密（API 安全），而请求未加密。"),
    row(40243, Who::Operator, "The AppSecret is frozen; unfreeze it in the mini program's console.", "AppSecret 已被冻结，请在小程序后台解冻。"),
    row(41001, Who::Developer, "The access token was missing; something between quicklogin and WeChat has changed the URL.", "缺少 access_token，可能有中间代理改写了请求地址。"),
    row(41002, Who::Operator, "The appid was missing in the request for a token.", "获取 token 时缺少 appid。"),
    row(41004, Who::Operator, "The AppSecret was missing in the request for a token.", "获取 token 时缺少 AppSecret。"),
    row(42001, Who::Nobody, "The access token has expired; another is fetched.", "access_token 已过期，会自动换取新的。"),
    row(43002, Who::Developer, "WeChat wants POST; something between quicklogin and WeChat has changed the method.", "需要 POST 请求，可能有中间代理改写了请求方法。"),
    row(44002, Who::Developer, "The body arrived empty; something between quicklogin and WeChat has dropped it.", "请求内容为空，可能被中间代理丢弃。"),
    row(45009, Who::Operator, "The daily quota of this call is used up. Look at the quota in the console; it can be cleared ten times a month. From a token endpoint: somebody fetches tokens all day, mostly another system with force_refresh, which WeChat allows 20 times a day; the token that there is serves to its end.", "当日调用额度已用完。请在后台查看额度，每月可清零十次。若由获取 token 的接口返回，则是当日获取次数过多，多半是其他系统在使用 force_refresh（每天限 20 次）；已有的 token 到期前仍可使用。"),
    row(45011, Who::Nobody, "Too many calls in this minute; the login is asked again, slowly, within its patience. From a token endpoint: the token is asked for again within the same patience.", "每分钟调用过于频繁，会在等待时限内放慢重试。若由获取 token 的接口返回，也会在等待时限内重新获取。"),
    row(47001, Who::Developer, "WeChat cannot read the body; mostly the code is of another kind, such as a wx.login code.", "请求数据格式错误，多半是 code 类型不对（例如误用了 wx.login 的 code）。"),
    row(48001, Who::Operator, "This app may not call this: not certified, a personal account, or a token of another kind of account.", "该小程序没有此接口权限：未认证、个人主体，或 token 属于其他类型的账号。"),
    row(48004, Who::Operator, "The interface is forbidden for this app, mostly as a punishment.", "接口被封禁，多为违规处罚。"),
    row(48006, Who::Operator, "The quota cannot be cleared: its ten times of this month are used up. quicklogin itself never clears a quota.", "本月十次额度清零机会已用完，无法再清零。quicklogin 本身不会调用清零接口。"),
    row(50002, Who::Operator, "The account is limited.", "账号受限。"),
    row(50004, Who::Operator, "The app may not fetch tokens, mostly as a punishment.", "账号被禁止获取 access_token，多为违规处罚。"),
    row(50007, Who::Operator, "The account is frozen: it may not fetch tokens, nor call anything else.", "账号已冻结，不能获取 token，也不能调用其他接口。"),
    row(61003, Who::Operator, "The merchant has withdrawn the authorisation of the third-party platform.", "商家已取消对第三方平台的授权。"),
    row(61004, Who::Operator, "This machine's address is not on the third-party platform's IP list.", "服务器 IP 不在第三方平台的白名单中。"),
    row(61005, Who::Operator, "The component_verify_ticket of the third-party platform has expired: no push of WeChat's has been taken for twelve hours. Look whether its authorisation events reach the gateway's /wechat/events; `quicklogin token ticket --push` has WeChat push again.", "第三方平台的 component_verify_ticket 已过期：十二小时内没有收到微信推送。请检查授权事件能否到达网关的 /wechat/events；执行 `quicklogin token ticket --push` 可让微信重新推送。"),
    row(61006, Who::Operator, "The component_verify_ticket is not one of this third-party platform's; perhaps another platform's was put in by hand. The next push of WeChat's, ten minutes later at most, replaces it.", "component_verify_ticket 无效，可能手工填入了其他平台的 ticket。微信每十分钟推送一次，新的 ticket 会替换它。"),
    row(61007, Who::Operator, "The merchant has not granted permission set 18 to the third-party platform; ask for authorisation again.", "商家未把权限集 18 授权给第三方平台，请重新授权。"),
    row(61009, Who::Operator, "The authorisation code that a third-party platform is given with a merchant's authorisation is not valid; the merchant updates the authorisation. quicklogin uses no such codes.", "第三方平台的授权码（authorization_code）无效，请商家更新授权。quicklogin 不使用授权码。"),
    row(61010, Who::Operator, "The authorisation code that a third-party platform is given with a merchant's authorisation has expired; the merchant updates the authorisation. quicklogin uses no such codes.", "第三方平台的授权码（authorization_code）已过期，请商家更新授权。quicklogin 不使用授权码。"),
    row(61011, Who::Operator, "The appid in [[platforms]] is not that of a third-party platform: it must be the component_appid.", "[[platforms]] 中的 appid 不是第三方平台的 component_appid。"),
    row(61023, Who::Operator, "The merchant's refresh token is not valid, and the one in the platform's list of merchants, which is tried once, is no better. Ask the merchant to authorise again.", "商家的 refresh_token 无效，自动从授权列表中查到的也不可用。请商家重新授权。"),
    row(61024, Who::Operator, "The app belongs to a third-party platform, and its token comes from there.", "该账号由第三方平台管理，须通过第三方平台获取 token。"),
    row(89501, Who::Operator, "This machine's address waits for an administrator of the mini program to confirm it.", "该 IP 正在等待小程序管理员确认。"),
    row(89502, Who::Operator, "This machine's address waits for an administrator of the mini program to confirm it.", "该 IP 正在等待小程序管理员确认。"),
    row(89503, Who::Operator, "An administrator of the mini program must confirm this machine's address; WeChat has sent them a message.", "需要小程序管理员确认该 IP，微信已向管理员发送消息。"),
    row(89504, Who::Operator, "This machine's address waits for an administrator of the mini program to confirm it.", "该 IP 正在等待小程序管理员确认。"),
    row(89505, Who::Operator, "This machine's address waits for an administrator of the mini program to confirm it.", "该 IP 正在等待小程序管理员确认。"),
    row(89506, Who::Operator, "An administrator refused this machine's address; it can be asked again after 24 hours.", "管理员已拒绝该 IP，24 小时后可重新申请。"),
    row(89507, Who::Operator, "An administrator refused this machine's address; it can be asked again after an hour.", "管理员已拒绝该 IP，1 小时后可重新申请。"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wechat::errcode::{PhoneErrcode, TokenErrcode, is_of_token, of_phone, of_token, stops_the_app};

    #[test]
    fn every_errcode_that_is_treated_in_its_own_way_is_explained() {
        let is_special = |errcode: &i64| {
            let by_exchange = of_phone(*errcode) != PhoneErrcode::Other || stops_the_app(*errcode);
            by_exchange || of_token(*errcode) != TokenErrcode::Setup || is_of_token(*errcode)
        };
        let unexplained: Vec<i64> =
            (-1..100_000).filter(is_special).filter(|errcode| explain(*errcode).is_none()).collect();
        // WeChat names three of the hundred in this range.
        assert!(unexplained.iter().all(|errcode| (40200..=40299).contains(errcode)), "{unexplained:?}");
    }

    #[test]
    fn errcodes_are_in_order_and_each_is_explained_once() {
        assert!(EXPLANATIONS.windows(2).all(|pair| pair[0].errcode < pair[1].errcode));
    }
}
