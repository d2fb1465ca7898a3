use super::*;

fn hosts(urls: &[&str]) -> Vec<Url> {
    urls.iter().map(|url| url.parse().expect("a URL")).collect()
}

fn url(base: &str, query: &[(&str, &str)]) -> String {
    let endpoint = Endpoint::new(&hosts(&[base]), "cgi-bin/token").expect("a good base URL");
    endpoint.call(0, query, None).expect("it is short").url.to_string()
}

#[test]
fn a_path_is_put_behind_each_host_and_its_prefix() {
    for (base, expected) in [
        ("https://api.weixin.qq.com", "https://api.weixin.qq.com/cgi-bin/token"),
        ("https://api.weixin.qq.com:443/", "https://api.weixin.qq.com/cgi-bin/token"),
        ("http://127.0.0.1:8090/we/chat/", "http://127.0.0.1:8090/we/chat/cgi-bin/token"),
        ("http://[::1]:8090/a b", "http://[::1]:8090/a%20b/cgi-bin/token"),
    ] {
        assert_eq!(url(base, &[]), expected);
    }
    let both = Endpoint::new(&hosts(&["http://a.test", "http://b.test"]), "p").expect("good base URLs");
    let names = [0, 1].map(|host| both.call(host, &[], None).expect("it is short").url.to_string());
    assert_eq!(names, ["http://a.test/p", "http://b.test/p"]);
}

#[test]
fn a_query_is_written_as_a_url_library_writes_it() {
    let all: String = (1..=0x17F).filter_map(char::from_u32).collect();
    for value in ["", "92_kRXVrUr7eFlvlMmS-rLi.KEb*", "a b+c&d=e%41/?#", &all, "电话"] {
        let query = [("access_token", value), ("appid", "wx0123")];
        let mut expected = hosts(&["http://a.test/cgi-bin/token"]).remove(0);
        expected.query_pairs_mut().extend_pairs(query);
        assert_eq!(url("http://a.test", &query), expected.as_str());
    }
}

#[test]
fn a_url_that_is_too_long_is_surely_not_sent_and_not_repeated() {
    let endpoint = Endpoint::new(&hosts(&["http://a.test"]), "p").expect("a good base URL");
    let token = "%".repeat(30_000);
    let fault = endpoint.call(0, &[("access_token", &token)], None).err().expect("it is longer than 64 KiB");
    assert!(fault.surely_not_taken() && !fault.to_string().contains('%'), "{fault}");
}

#[test]
fn user_and_password_are_no_part_of_the_url_but_prove_who_calls() {
    for (of_url, expected) in
        [("us%40er:p%C3%A4ss@", "Basic dXNAZXI6cMOkc3M="), ("user@", "Basic dXNlcjo="), (":100%@", "Basic OjEwMCU=")]
    {
        let base = hosts(&[&format!("http://{of_url}a.test/tokens?of=wx0123")]).remove(0);
        let address = Address::of(&base).expect("a good URL");
        let call = address.get(None).expect("it is short");
        assert_eq!(call.url, "http://a.test/tokens?of=wx0123");
        let authorization = call.authorization.expect("there is a user");
        assert_eq!((authorization.as_bytes(), &*format!("{authorization:?}")), (expected.as_bytes(), "Sensitive"));

        let with_key = address.get(Some(&"a-key".into())).expect("it is short").authorization;
        assert_eq!(with_key.expect("there is a key"), "Bearer a-key");
        let fault = address.get(Some(&"a\nkey".into())).err().expect("a line break ends a header");
        assert!(fault.surely_not_taken() && !fault.to_string().contains("a\nkey"), "{fault}");
    }
    assert!(Address::of(&hosts(&["http://a.test"])[0]).expect("a good URL").authorization.is_none());
}

#[test]
fn a_url_that_cannot_be_called_is_told_without_it() {
    for bad in ["data:secret", "file:///secret", "ftp-of-ours:/secret"] {
        let error = Address::of(&hosts(&[bad])[0]).err().expect(bad);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
