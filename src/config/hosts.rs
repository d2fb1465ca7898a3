//! `wechat.base_url` and `wechat.hosts`: from texts to base URLs. Which of them a call goes to is `wechat::hosts`'
//! business.

use reqwest::Url;

use crate::config::BadSettings;

/// WeChat's own hosts by their short names. Source: its documents' list of API domains.
const OWN: [(&str, &str); 5] = [
    ("api", "api.weixin.qq.com"),
    ("api2", "api2.weixin.qq.com"),
    ("sh", "sh.api.weixin.qq.com"),
    ("sz", "sz.api.weixin.qq.com"),
    ("hk", "hk.api.weixin.qq.com"),
];
const OWN_DOMAIN: &str = ".weixin.qq.com";

/// Scheme and host; `name` says which setting it is.
pub(super) fn base_url(name: &str, text: &str) -> Result<Url, BadSettings> {
    let hint = "a base URL is scheme and host, as in https://api.weixin.qq.com";
    let url: Url = text.parse().map_err(|_| BadSettings::new(format!("{name} is not a URL"), hint))?;
    if !matches!(url.scheme(), "https" | "http") || url.query().is_some() {
        return Err(BadSettings::new(format!("{name} is not an https:// or http:// URL without query"), hint));
    }
    Ok(url)
}

/// Whether these are WeChat's own servers, and not a simulator or a proxy.
pub(super) fn is_wechats_own(base: &Url) -> bool {
    base.host_str().is_some_and(|host| host.ends_with(OWN_DOMAIN))
}

/// The hosts that are tried after `base`, each once. WeChat's own are left out where `base` is not WeChat's own: a
/// simulator's token must never go to WeChat, nor a real code where nobody sent it.
pub(super) fn after(base: &Url, entries: &[String]) -> Result<Vec<Url>, BadSettings> {
    let at_wechat = is_wechats_own(base);
    let mut hosts = Vec::new();
    for (n, entry) in entries.iter().enumerate() {
        let host = match OWN.iter().find(|(short, _)| short == entry) {
            Some((_, host)) => at_wechat.then(|| own(base, host)),
            None => Some(elsewhere(base, &format!("wechat.hosts, entry {},", n + 1), entry)?),
        };
        hosts.extend(host.filter(|host| host != base && !hosts.contains(host)));
    }
    Ok(hosts)
}

/// Another host of WeChat's, with scheme and all else as in `base`.
fn own(base: &Url, host: &str) -> Url {
    let mut url = base.clone();
    url.set_host(Some(host)).expect("a host name can stand for another");
    url
}

fn elsewhere(base: &Url, name: &str, entry: &str) -> Result<Url, BadSettings> {
    if !entry.contains("://") {
        let short: Vec<_> = OWN.iter().map(|(short, _)| *short).collect();
        let hint = format!("WeChat's own are {}; others are written as https://HOST", short.join(", "));
        return Err(BadSettings::new(format!("{name} is no host of WeChat's that is known"), hint));
    }
    let url = base_url(name, entry)?;
    match url.scheme() == base.scheme() {
        true => Ok(url),
        false => Err(BadSettings::new(
            format!("{name} is {}, and wechat.base_url is {}", url.scheme(), base.scheme()),
            "give all of them one scheme: https, but for tests and proxies on this machine",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(base: &str, entries: &[&str]) -> Result<Vec<String>, BadSettings> {
        let base = base_url("wechat.base_url", base).expect("a base URL");
        let entries: Vec<_> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        Ok(after(&base, &entries)?.into_iter().map(String::from).collect())
    }

    #[test]
    fn short_names_are_wechats_own_hosts_in_their_order() {
        let all = hosts("https://api.weixin.qq.com", &["hk", "api2", "sz", "sh"]).expect("good hosts");
        let expected = ["hk.api", "api2", "sz.api", "sh.api"].map(|host| format!("https://{host}.weixin.qq.com/"));
        assert_eq!(all, expected);
        assert_eq!(hosts("https://sh.api.weixin.qq.com", &["api"]).expect("good"), ["https://api.weixin.qq.com/"]);
    }

    #[test]
    fn short_names_count_only_where_base_url_is_wechats_own() {
        for base in [
            "http://127.0.0.1:8090",
            "https://proxy.example.com",
            "https://api.weixin.qq.com.example.com",
            "https://notweixin.qq.com",
            "https://weixin.qq.com",
        ] {
            let scheme = &base[..base.find(':').expect("a scheme")];
            let other = format!("{scheme}://other.example.com/");
            assert_eq!(hosts(base, &["api", "api2", "sh", "sz", "hk"]).expect("good hosts"), [""; 0], "{base}");
            assert_eq!(hosts(base, &["api2", &other]).expect("good hosts"), [&*other], "{base}: named hosts stay");
        }
    }

    #[test]
    fn no_host_is_there_twice() {
        let base = "https://api2.weixin.qq.com";
        let entries = ["api2", "https://api2.weixin.qq.com/", "sh", "https://sh.api.weixin.qq.com", "sh"];
        assert_eq!(hosts(base, &entries).expect("good hosts"), ["https://sh.api.weixin.qq.com/"]);
    }

    #[test]
    fn anything_else_is_a_mistake_which_is_not_repeated() {
        for (entry, what, hint) in [
            ("tokyo", "no host of WeChat's", "api, api2, sh, sz, hk"),
            ("", "no host of WeChat's", "api, api2, sh, sz, hk"),
            ("tokyo.weixin.qq.com", "no host of WeChat's", "https://HOST"),
            ("http://tokyo", "is http, and wechat.base_url is https", "one scheme"),
            ("ftp://tokyo", "not an https:// or http:// URL", "scheme and host"),
            ("https://tokyo/?a=b", "without query", "scheme and host"),
            ("https://u:tokyo@[::bad", "not a URL", "scheme and host"),
        ] {
            let bad = hosts("https://api.weixin.qq.com", &["sh", entry]).expect_err(entry);
            let said = bad.to_string();
            assert!(said.starts_with("wechat.hosts, entry 2,") && said.contains(what), "{entry}: {said}");
            assert!(bad.hint().contains(hint) && !format!("{said} {}", bad.hint()).contains("tokyo"), "{entry}");
        }
    }
}
