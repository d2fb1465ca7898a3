//! Redis behind TLS: `rediss://`, trusted by the machine's certificates.

use std::path::{Path, PathBuf};

use rcgen::generate_simple_self_signed;

use crate::support::fleet::eventually;
use crate::support::line::Line;
use crate::support::process::{folder, free_port};
use crate::support::redis::Redis;

/// A certificate for this machine, and its key: two files.
fn certificate(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let made = generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a good name");
    let (certificate, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    std::fs::write(&certificate, made.cert.pem()).expect("the folder is ours to write");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("the folder is ours to write");
    (certificate, key)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("cargo's folder has a plain name")
}

#[tokio::test]
async fn a_redis_behind_tls_is_spoken_to_where_its_certificate_is_trusted_and_nowhere_else() {
    let (folder, port) = (folder("tls-"), free_port().to_string());
    let (trusted, key) = certificate(folder.path(), "redis");
    let (another, _) = certificate(folder.path(), "another");
    let files = ["--tls-cert-file", text(&trusted), "--tls-key-file", text(&key), "--tls-auth-clients", "no"];
    let redis = Redis::start_with(None, &[["--tls-port", &port].as_slice(), &files].concat());
    let line = Line::on(redis, "").await;
    let url = format!("rediss://127.0.0.1:{port}");
    let worker =
        |trusts| line.worker_with(&[("QUICKLOGIN__REDIS__URL", url.as_str()), ("SSL_CERT_FILE", text(trusts))]);

    let distrustful = worker(&another);
    let tap = line.tap([]);
    line.publish(&tap).await;
    eventually("it says why it does not connect", async || distrustful.said().contains("invalid peer certificate"))
        .await;
    eventually("it has the login in hand", async || line.depth("quicklogin.logins").unacked == 1).await;
    eventually("it waits for the store", async || distrustful.said().contains("a login waits for the store")).await;
    assert_eq!((line.asked(&tap).asked, line.servers.redis.keys("*")), (0, vec![]));
    drop(distrustful);

    let _trusting = worker(&trusted);
    assert_eq!(line.outcome(&tap).await, ("succeeded".to_owned(), 1));
}
