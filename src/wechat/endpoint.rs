//! The URLs of calls: what stays the same of each is made once, and a call adds its query. Which host is asked is `hosts`'
//! business.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use reqwest::Url;

use super::{Call, ClientError, Fault};
use crate::secret::Secret;

/// The bytes that stand for themselves in a query. Looked up, since a token is long and written for each login.
static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        plain[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'*' | b'-' | b'.' | b'_');
        byte += 1;
    }
    plain
};

/// A path of WeChat's API at each host, in the order of the hosts.
pub(super) struct Endpoint(Vec<Address>);

impl Endpoint {
    pub(super) fn new(hosts: &[Url], path: &str) -> Result<Self, ClientError> {
        hosts.iter().map(|base| Address::of(&with_path(base, path)?)).collect::<Result<_, _>>().map(Self)
    }

    /// A call to this host, with a query where there is one; a POST if there is a body.
    pub(super) fn call(&self, host: usize, query: &[(&str, &str)], body: Option<Vec<u8>>) -> Result<Call, Fault> {
        let address = &self.0[host];
        Ok(Call { url: address.url(query)?, authorization: address.authorization.clone(), body })
    }
}

fn with_path(base: &Url, path: &str) -> Result<Url, ClientError> {
    let mut url = base.clone();
    url.path_segments_mut()
        .map_err(|()| ClientError("a base URL has no host".into()))?
        .pop_if_empty()
        .extend(path.split('/'));
    Ok(url)
}

/// A URL that can be called. It may hold secrets, so it does not print itself.
pub(super) struct Address {
    scheme: Scheme,
    authority: Authority,
    path: String,
    /// Of user and password, where the URL has them.
    authorization: Option<HeaderValue>,
}

impl Address {
    pub(super) fn of(url: &Url) -> Result<Self, ClientError> {
        let bad = |what: &str| ClientError(format!("a URL has {what}"));
        let host = url.host_str().ok_or_else(|| bad("no host"))?;
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        PathAndQuery::try_from(&path).map_err(|_| bad("a path or a query that cannot be sent"))?;
        Ok(Self {
            scheme: url.scheme().parse().map_err(|_| bad("a scheme that is unknown"))?,
            authority: authority.parse().map_err(|_| bad("a host that cannot be called"))?,
            path,
            authorization: basic(url),
        })
    }

    /// A GET of it, with this key if there is one.
    pub(super) fn get(&self, bearer: Option<&Secret>) -> Result<Call, Fault> {
        let of_bearer = bearer.map(|key| sensitive(format!("Bearer {}", key.expose()))).transpose();
        let of_bearer = of_bearer.map_err(|()| Fault::Unreachable("the key cannot be sent in a header".into()))?;
        Ok(Call { url: self.url(&[])?, authorization: of_bearer.or_else(|| self.authorization.clone()), body: None })
    }

    /// A query is written as HTML forms are.
    fn url(&self, query: &[(&str, &str)]) -> Result<Uri, Fault> {
        let length = query.iter().fold(self.path.len(), |sum, (name, value)| sum + name.len() + value.len() + 2);
        let mut text = String::with_capacity(length);
        text.push_str(&self.path);
        for (n, (name, value)) in query.iter().enumerate() {
            text.push(if n == 0 { '?' } else { '&' });
            text.push_str(name);
            text.push('=');
            push_encoded(&mut text, value);
        }
        let path = PathAndQuery::from_maybe_shared(Bytes::from(text));
        let mut parts = Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path.map_err(|_| Fault::Unreachable("the URL is too long".into()))?);
        Ok(Uri::from_parts(parts).expect("all three are there"))
    }
}

/// Tokens and appids are mostly plain.
fn push_encoded(text: &mut String, value: &str) {
    if value.bytes().all(|byte| PLAIN[usize::from(byte)]) {
        return text.push_str(value);
    }
    for byte in value.bytes() {
        match byte {
            _ if PLAIN[usize::from(byte)] => text.push(byte.into()),
            b' ' => text.push('+'),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
}

fn basic(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut pair = decoded(url.username());
    pair.push(b':');
    pair.extend(decoded(url.password().unwrap_or_default()));
    sensitive(format!("Basic {}", STANDARD.encode(pair))).ok()
}

/// A part of a URL without its percent signs.
fn decoded(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some(first) = rest.bytes().next() {
        let code = rest.get(1..3).filter(|_| first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(code.unwrap_or(first));
        rest = &rest[if code.is_some() { 3 } else { 1 }..];
    }
    bytes
}

fn sensitive(text: String) -> Result<HeaderValue, ()> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from(text)).map_err(|_| ())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests;
