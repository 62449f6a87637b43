//! The URL of an API server, which may hold a password.

use std::fmt;
use std::str::FromStr;

/// The URL of an API server: `https://192.168.67.1:6443`.
///
/// A user and a password before the host become basic authentication, as with kube-proxy.
///
/// **Invariant:** they are never printed: [`Debug`](fmt::Debug) and [`Display`](fmt::Display) write `***` in their place
/// (`a_password_in_a_url_is_not_printed`).
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl(String);

/// Not such a URL. What might be a password in it is not shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}: must be URLs such as https://192.168.67.1:6443, separated by commas")]
pub struct ServerUrlError(String);

/// Schemes of a URL. Without this check a typing mistake would look like a server that does not answer.
const SCHEMES: [&str; 2] = ["https://", "http://"];

impl ServerUrl {
    /// All of it, with a password that it may hold.
    pub fn with_secrets(&self) -> &str {
        &self.0
    }

    /// `text`, which may have been meant as such a URL, with `***` in place of user and password.
    pub fn redacted(text: &str) -> String {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (format!("{scheme}://"), rest),
            None => (String::new(), text),
        };
        match userinfo(rest) {
            (Some(_), place) => format!("{scheme}***@{place}"),
            (None, place) => format!("{scheme}{place}"),
        }
    }

    /// It without user and password.
    #[cfg(feature = "api")]
    pub(super) fn without_secrets(&self) -> String {
        let (scheme, rest) = halves(&self.0);
        let (_, place) = userinfo(rest);
        format!("{scheme}{place}")
    }
}

impl FromStr for ServerUrl {
    type Err = ServerUrlError;

    /// Without a scheme it is HTTPS: API servers speak nothing else.
    fn from_str(text: &str) -> Result<Self, ServerUrlError> {
        let url = text.trim();
        let (scheme, rest) = match halves(url) {
            ("", rest) => ("https://", rest),
            halves => halves,
        };
        let (secrets, place) = userinfo(rest);
        let host = place.split('/').next().unwrap_or_default();
        // Printed by us, and copied from there.
        let is_redacted = secrets == Some("***");
        if is_redacted || host.is_empty() || rest.contains("://") || rest.contains(is_odd) {
            return Err(ServerUrlError(ServerUrl::redacted(text)));
        }
        Ok(Self(format!("{scheme}{rest}")))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Self::redacted(&self.0))
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Self::redacted(&self.0), f)
    }
}

/// Whether it belongs in no URL of a server.
fn is_odd(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '?' | '#')
}

/// The scheme with its `://`, if it is one of ours, and the rest.
fn halves(url: &str) -> (&str, &str) {
    match SCHEMES.iter().find(|scheme| url.starts_with(**scheme)) {
        Some(scheme) => url.split_at(scheme.len()),
        None => ("", url),
    }
}

/// What stands before the last `@`: a password that holds an unescaped one, or a `/`, is redacted too.
fn userinfo(rest: &str) -> (Option<&str>, &str) {
    match rest.rsplit_once('@') {
        Some((userinfo, place)) => (Some(userinfo), place),
        None => (None, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_url_or_a_host() {
        for (text, url) in [
            ("https://10.0.0.1:6443", "https://10.0.0.1:6443"),
            (" http://api.example/path ", "http://api.example/path"),
            ("10.0.0.1:6443", "https://10.0.0.1:6443"),
            ("https://[fd00::1]:6443", "https://[fd00::1]:6443"),
        ] {
            assert_eq!(text.parse::<ServerUrl>().unwrap().to_string(), url);
        }
        for text in [
            "",
            "https://",
            "ftp://x",
            "a b",
            "https:///path",
            "https://a?b",
            "https://a#b",
            "https://u:p@",
            "https://***@a",
        ] {
            assert_eq!(text.parse::<ServerUrl>(), Err(ServerUrlError(ServerUrl::redacted(text))), "{text:?}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_not_printed() {
        for (text, shown) in [
            ("https://user:hunter2@10.0.0.1:6443", "https://***@10.0.0.1:6443"),
            ("https://hunter2@api", "https://***@api"),
            ("user:hunter2@api", "https://***@api"),
            ("https://user:hunt@er2@api/path", "https://***@api/path"),
        ] {
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!((url.to_string().as_str(), format!("{url:?}")), (shown, format!("{shown:?}")));
            assert!(url.with_secrets().contains('@'));
        }
        for text in
            ["https://user:hunter2@", "ftp://user:hunter2@api", "https://user:hunter2@a b", "https://hunter2@a?b"]
        {
            let error = text.parse::<ServerUrl>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
