//! Mistakes in the settings, by file and by environment: no value is repeated, and what is meant is said.

use std::os::unix::fs::PermissionsExt;
use std::thread;

use crate::support::program::{Ended, Site};

/// Looks like the secrets that stand in settings: digits, capitals, signs.
const CANARY: &str = "cAnary7f3a9b1c5d2e4f60-cAnary";
const DIGITS: &str = "7331133773311337";
const SECTIONS: [&str; 12] = [
    "rabbitmq",
    "redis",
    "wechat",
    "apps",
    "platforms",
    "worker",
    "login",
    "result",
    "gateway",
    "ops",
    "simulator",
    "log",
];
const APP_SETTINGS: [&str; 17] = [
    "appid",
    "secret",
    "secret_file",
    "token",
    "force_refresh",
    "platform",
    "external",
    "external.preset",
    "external.prefix",
    "external.key",
    "external.field",
    "external.format",
    "external.redis_url",
    "external.url",
    "external.bearer",
    "external.bearer_file",
    "unknown",
];
const PLATFORM_SETTINGS: [&str; 8] = [
    "appid",
    "secret",
    "secret_file",
    "message_token",
    "message_token_file",
    "message_key",
    "message_key_file",
    "unknown",
];

/// `section.setting` for all that is in the reference, set or commented out, outside the lists of tables.
fn settings() -> Vec<String> {
    let (mut section, mut settings) = ("", vec![]);
    for line in quicklogin::config::DEFAULTS.lines() {
        if let Some(name) = line.trim_start_matches("# ").strip_prefix('[') {
            section = name.trim_matches(['[', ']']);
        } else if let Some((name, _)) = line.trim_start_matches("# ").split_once(" = ")
            && !name.contains(' ')
            && !matches!(section, "" | "apps" | "platforms")
        {
            settings.push(format!("{section}.{name}"));
        }
    }
    assert!(settings.len() > 35 && settings.contains(&"result.key".to_owned()), "{settings:?}");
    settings
}

/// A value that does not fit nearly anywhere, in many shapes of TOML and of no TOML.
fn shapes() -> Vec<String> {
    let texts = [
        "\"C\"",
        "'C'",
        "C",
        "\"C",
        "'C",
        "\"\"\"C\nC",
        "\"C\" \"C\"",
        "\"\\qC\"",
        "[\"C\"]",
        "[\"C\"",
        "[[\"C\"]]",
        "[\"a\", C]",
        "{value = \"C\"}",
        "{keys = [\"C\"]}",
        "{value = \"C\"",
        "[{secret = \"C\"}]",
        "[{secret = C}]",
        "\"{\\\"C\\\": \\\"C\\\"}\"",
        "\"`C`\"",
        "\"wx C\"",
        "\"amqp://u:C@[\"",
        "\"redis+sentinel://:C@h\"",
        "\"https://u:C@[::\"",
        "\"expected C\"",
        "\"C\"\nunknown = \"C\"",
        "= C",
        "",
    ];
    let numbers = ["N", "-N", "N.5", "NNNN", "0xN", "N-N-N", "1979-05-27", "true", "1e400"];
    let texts = texts.map(|shape| shape.replace('C', CANARY)).into_iter();
    texts.chain(numbers.map(|shape| shape.replace('N', DIGITS))).collect()
}

fn assert_silent(what: &str, ended: &Ended) {
    let said = format!("{}{}", ended.stdout, ended.stderr);
    let repeated =
        [CANARY, "7f3a9b1c5d2e4f60", DIGITS].into_iter().any(|part| said.to_lowercase().contains(&part.to_lowercase()));
    assert!(!repeated, "{what}\nsays\n{said}");
    assert!(matches!(ended.code, Some(0 | 2)), "{what}: {:?} {said}", ended.code);
    assert_eq!(ended.code == Some(2), said.contains("error: ") && said.contains("\nhint: "), "{what}: {said}");
}

/// Runs `config check` for all of these settings files and variables, and answers how many were refused.
fn refused(cases: &[(String, Vec<(String, String)>)]) -> usize {
    let share = cases.len().div_ceil(4);
    thread::scope(|scope| {
        let check = |cases: &[(String, Vec<(String, String)>)]| {
            let site = Site::with("");
            let mut refused = 0;
            for (file, variables) in cases {
                site.change(file);
                let variables: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                let ended = site.run_with(&["config", "check"], &variables);
                assert_silent(&format!("{file}\n{variables:?}"), &ended);
                refused += usize::from(ended.code == Some(2));
            }
            refused
        };
        let threads: Vec<_> = cases.chunks(share).map(|cases| scope.spawn(move || check(cases))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no case repeats a value")).sum()
    })
}

#[test]
fn no_error_repeats_a_value_of_the_settings_file() {
    let mut cases = vec![];
    for shape in shapes() {
        let ours = settings().into_iter().chain(SECTIONS.map(str::to_owned));
        cases.extend(ours.map(|setting| format!("{setting} = {shape}\n")));
        for setting in APP_SETTINGS {
            let appid = if setting == "appid" { "" } else { "appid = \"wx1\"\n" };
            let external = if setting.starts_with("external") { "token = \"external\"\n" } else { "" };
            cases.push(format!("[[apps]]\n{appid}{external}{setting} = {shape}\n"));
        }
        for setting in PLATFORM_SETTINGS {
            let appid = if setting == "appid" { "" } else { "appid = \"wx1\"\n" };
            cases.push(format!("[[platforms]]\n{appid}{setting} = {shape}\n"));
        }
    }
    let cases: Vec<_> = cases.into_iter().map(|file| (file, vec![])).collect();
    let refused = refused(&cases);
    assert!(refused * 10 > cases.len() * 8, "most shapes fit nowhere: {refused} of {}", cases.len());
}

#[test]
fn no_error_repeats_a_value_of_the_environment() {
    let names = settings().into_iter().chain(SECTIONS.map(str::to_owned));
    let names: Vec<String> =
        names.map(|setting| format!("QUICKLOGIN__{}", setting.replace('.', "__").to_uppercase())).collect();
    let texts = [
        "C",
        "\"C\"",
        "'C'",
        "'[{appid = \"wx1\", secret = \"C\"}]'",
        "\"[{appid = 'wx1', secret = 'C'}]\"",
        "[{appid = \"wx1\", secret = \"C\"}",
        "[{appid = \"wx1\", secrets = \"C\"}]",
        "[{appid = \"wx1\", secret = {C = \"C\"}}]",
        "[{appid = \"wx1\", secret = C}]",
        "[{appid = \"wx1\", token = \"C\"}]",
        "[{appid = \"C\", secret = \"C\"}]",
        "[\"C\"]",
        "{keys = [\"C\"]}",
        "{C}",
        "[[\"C\"]]",
        "x\nC",
        "C, C",
        "=C",
    ];
    let values: Vec<String> =
        texts.map(|text| text.replace('C', CANARY)).into_iter().chain([DIGITS.to_owned()]).collect();
    let mut cases = vec![];
    for name in &names {
        cases.extend(values.iter().map(|value| (String::new(), vec![(name.clone(), value.clone())])));
    }
    // Names that are none, and two that contradict each other.
    for name in [
        "QUICKLOGIN__GATEWAY__KEY",
        "QUICKLOGIN_GATEWAY__KEYS",
        "QUICKLOGIN__APPS__0__SECRET",
        "QUICKLOGIN__",
        "quicklogin__apps",
    ] {
        cases.push((String::new(), vec![(name.to_owned(), CANARY.to_owned())]));
    }
    let both = [("QUICKLOGIN__GATEWAY", CANARY), ("QUICKLOGIN__GATEWAY__KEYS", CANARY)];
    cases.push((String::new(), both.map(|(name, value)| (name.to_owned(), value.to_owned())).into()));
    let refused = refused(&cases);
    assert!(refused * 10 > cases.len() * 7, "most values fit nowhere: {refused} of {}", cases.len());
}

fn check(settings: &str, variables: &[(&str, &str)]) -> Ended {
    Site::with(settings).run_with(&["config", "check"], variables)
}

#[test]
fn what_an_env_file_or_a_misspelt_name_does_to_a_variable_is_said() {
    let quoted = "'[{appid = \"wx1\", secret = \"s\"}]'";
    for (name, value, code, expected) in [
        ("QUICKLOGIN__APPS", quoted, 2, "docker --env-file"),
        ("QUICKLOGIN__REDIS__URL", "\"redis://127.0.0.1\"", 2, "QUICKLOGIN__REDIS__URL stands in quotes"),
        ("QUICKLOGIN__GATEWAY", "{keys = [\"k\"]}", 2, "QUICKLOGIN__GATEWAY__LISTEN"),
        ("QUICKLOGIN__GATEWAY__KEY", "k", 2, "is QUICKLOGIN__GATEWAY__KEYS meant?"),
        ("QUICKLOGIN__WORKER_SLOTS", "8", 2, "is QUICKLOGIN__WORKER__SLOTS meant?"),
        ("QUICKLOGIN__WORKER__SLOTS", "many", 2, "in the variable QUICKLOGIN__WORKER__SLOTS"),
        ("QUICKLOGIN__APPS", "[{appid = \"wx1\", token = \"x\"}]", 2, "apps[0].token should be one of stable, classic"),
        ("QUICKLOGIN_WORKER__SLOTS", "8", 0, "warning: the variable QUICKLOGIN_WORKER__SLOTS is not read"),
        ("quicklogin__worker__slots", "8", 0, "QUICKLOGIN__WORKER__SLOTS is, if that is meant"),
        ("QUIKLOGIN__WORKER__SLOT", "8", 0, "QUICKLOGIN__WORKER__SLOTS is, if that is meant"),
    ] {
        let ended = check("", &[(name, value)]);
        assert_eq!((ended.code, ended.stderr.contains(expected)), (Some(code), true), "{name}: {}", ended.stderr);
    }
    let of_kubernetes = [
        ("QUICKLOGIN_SERVICE_HOST", "10.0.0.1"),
        ("QUICKLOGIN_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("QUICKLOGIN_GATEWAY_PORT", "tcp://10.0.0.1:8080"),
        ("QUICKLOGIN_GATEWAY_SERVICE_PORT_HTTP", "8080"),
        ("QUICKLOGIN_REDIS_PORT", "tcp://10.0.0.1:6379"),
    ];
    let ended = check("", &of_kubernetes);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "these are not ours");
}

#[test]
fn a_secret_file_holds_one_line_that_can_be_a_secret() {
    let secret = "0123456789abcdef0123456789abcdef";
    let site =
        Site::with("wechat.base_url = \"http://127.0.0.1:1\"\n[[apps]]\nappid = \"wx1\"\nsecret_file = \"app.secret\"");
    let utf_16: Vec<u8> = [0xff, 0xfe].into_iter().chain(secret.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    for (file, problem) in [
        (secret.into(), None),
        (format!("\u{feff}{secret}\r\n").into_bytes(), None),
        (format!("{secret}\n{secret}\n").into_bytes(), Some("more than one line")),
        (format!("{secret}\u{200b}\n").into_bytes(), Some("not visible ASCII")),
        (format!("{secret} x").into_bytes(), Some("white space")),
        (utf_16, Some("UTF-16")),
        (b"\n".to_vec(), Some("is empty")),
    ] {
        let path = site.path().join("app.secret");
        std::fs::write(&path, &file).expect("the folder is ours to write");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("the file is ours");
        let ended = site.run(&["config", "check"]);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(!said.contains("0123456789abcdef"), "{said}");
        match problem {
            None => assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{file:?}"),
            Some(problem) => {
                assert_eq!(ended.code, Some(2), "{file:?}: {said}");
                assert!(
                    said.contains("the secret of app wx1 cannot be read from app.secret") && said.contains(problem),
                    "{said}"
                );
            }
        }
    }
}

#[test]
fn an_id_of_another_kind_and_a_secret_that_wechat_would_refuse_are_errors() {
    for (app, expected) in [
        ("appid = \"gh_123\"\nsecret = \"s\"", "apps[0].appid is an original id"),
        ("appid = \"0123456789abcdef0123456789abcdef\"\nsecret = \"s\"", "apps[0].appid looks like an AppSecret"),
        ("appid = \"my-app\"\nsecret = \"s\"", "apps[0].appid is not an appid"),
        ("appid = \"wx 1\"\nsecret = \"s\"", "apps[0].appid must be 1 to 64"),
        ("appid = \"wx1\"\nsecret = \"a b\"", "the secret of app wx1 has white space"),
        ("appid = \"wx1\"\nsecret = \" s\"", "the secret of app wx1 has white space"),
        ("appid = \"wx1\"\nsecret = \"s\\n\"", "the secret of app wx1 has more than one line"),
        ("appid = \"wx1\"\nsecret = \"\u{feff}s\"", "the secret of app wx1 has a character that is not visible"),
        ("appid = \"wx1\"\nsecret = 123", "apps[0].secret should be text, in quotes"),
        ("appid = \"wx1\"\nsecret = \"s\"\nplatform = \"gh_1\"", "apps[0].platform is an original id"),
    ] {
        let ended = check(&format!("[[apps]]\n{app}"), &[]);
        assert_eq!((ended.code, ended.stderr.contains(expected)), (Some(2), true), "{app}: {}", ended.stderr);
    }
    let platform = check("[[platforms]]\nappid = \"gh_1\"", &[]);
    assert!(platform.stderr.contains("platforms[0].appid is an original id"), "{}", platform.stderr);
}

#[test]
fn what_strangers_could_read_or_guess_is_warned_of() {
    let loopback = "wechat.base_url = \"http://127.0.0.1:8090\"";
    let good = "gateway.keys = [\"0123456789abcdef\"]";
    let app = "[[apps]]\nappid = \"wx1\"\nsecret_file = \"app.secret\"";
    let open_app = "[[apps]]\nappid = \"wx2\"\ntoken = \"external\"\nexternal.url = \"http://10.0.0.1/{appid}\"";
    for (settings, file_mode, secret_mode, expected) in [
        (format!("{loopback}\n{good}\n{app}"), 0o600, 0o600, vec![]),
        (format!("{loopback}\n{app}"), 0o644, 0o640, vec![]),
        (format!("{loopback}\n{good}"), 0o644, 0o600, vec!["every user of this machine can read quicklogin.toml"]),
        (format!("{loopback}\n{app}"), 0o644, 0o644, vec!["app.secret, the secret_file of app wx1"]),
        ("wechat.base_url = \"http://api.weixin.qq.com\"".into(), 0o644, 0o600, vec!["wechat.base_url is http"]),
        (format!("{loopback}\n{open_app}"), 0o644, 0o600, vec!["external.url of app wx2 is http"]),
        ("gateway.keys = [\"a\"]".into(), 0o600, 0o600, vec!["less than 16 characters"]),
        (
            app.into(),
            0o644,
            0o600,
            vec!["app wx1: WeChat's appids are", "the secret of app wx1: WeChat's AppSecrets are"],
        ),
    ] {
        let site = Site::with(&settings);
        let set_mode = |name: &str, mode| {
            std::fs::set_permissions(site.path().join(name), PermissionsExt::from_mode(mode))
                .expect("the file is ours");
        };
        std::fs::write(site.path().join("app.secret"), "s3cr3t").expect("the folder is ours to write");
        set_mode("app.secret", secret_mode);
        set_mode("quicklogin.toml", file_mode);
        let ended = site.run(&["config", "check"]);
        assert_eq!((ended.code, ended.stdout.starts_with("ok: ")), (Some(0), true), "{settings}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), expected.len(), "{settings}: {}", ended.stderr);
        for expected in expected {
            assert!(ended.stderr.contains(expected) && ended.stderr.starts_with("warning: "), "{}", ended.stderr);
        }
        assert!(!ended.stderr.contains("s3cr3t"), "{}", ended.stderr);
    }
}

#[test]
fn a_settings_file_in_another_encoding_is_named_with_its_encoding() {
    let utf_16 = |text: &str| {
        [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect::<Vec<u8>>()
    };
    for (file, code, expected) in [
        (utf_16("worker.slots = 1"), 2, "quicklogin.toml is UTF-16"),
        (vec![b'#', 0xc3, 0x28], 2, "quicklogin.toml is not UTF-8"),
        ("\u{feff}worker.slots = 1".as_bytes().to_vec(), 0, ""),
    ] {
        let site = Site::with("");
        std::fs::write(site.path().join("quicklogin.toml"), &file).expect("the folder is ours to write");
        let ended = site.run(&["config", "check"]);
        assert_eq!((ended.code, ended.stderr.contains(expected)), (Some(code), true), "{file:?}: {}", ended.stderr);
    }
}
