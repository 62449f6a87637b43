//! Why a request could not be sent, in words that say what to do.

use std::error::Error;
use std::io::{self, ErrorKind};

use hyper_util::client::legacy;
use rustls::{AlertDescription, CertificateError};

/// The longest reason that is told in a library's words.
const LONGEST: usize = 300;

/// Why.
pub(super) fn reason(error: &(dyn Error + 'static)) -> String {
    let errors = chain(error);
    let specific = errors.iter().rev().find_map(|error| {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(of_tls(tls));
        }
        error.downcast_ref::<io::Error>().and_then(of_io).or_else(|| of_proxy(&error.to_string()))
    });
    // The resolver's error is of no kind of its own.
    let unresolved = errors.iter().any(|error| error.to_string() == "dns error");
    match specific {
        _ if unresolved => format!("its name cannot be resolved ({}); check the name, and DNS", last(&errors)),
        Some(specific) => specific,
        None => joined(&errors),
    }
}

/// An error and all that led to it, outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> Vec<&'a (dyn Error + 'static)> {
    let (mut errors, mut next) = (Vec::new(), Some(error));
    while let Some(error) = next {
        errors.push(error);
        // An I/O error is not its own content's source, but has that one's source.
        let content = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = content.map(|content| content as &(dyn Error + 'static)).or_else(|| error.source());
    }
    errors
}

fn of_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(flaw) => of_certificate(flaw),
        rustls::Error::AlertReceived(alert) => of_alert(*alert),
        rustls::Error::InvalidMessage(_) => "it does not speak TLS; is the port right, and is it https?".to_owned(),
        other => format!("TLS: {other}"),
    }
}

fn of_certificate(flaw: &CertificateError) -> String {
    match flaw {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; renew it, or correct this node's clock".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; correct this node's clock".to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is of no authority that is trusted here; give the cluster's own as certificate-authority"
                .to_owned()
        }
        CertificateError::NotValidForName => OF_ANOTHER_NAME.to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented: String = presented.join(", ").chars().take(LONGEST).collect();
            format!("{OF_ANOTHER_NAME}: it is for {presented:?}, and not for {}", expected.to_str())
        }
        other => format!("its certificate cannot be used: {other}"),
    }
}

const OF_ANOTHER_NAME: &str = "its certificate is for other names; use one of them, or give it as tls-server-name";

fn of_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "it requires a client certificate; give client-certificate and client-key".to_owned()
        }
        AlertDescription::CertificateExpired => "it says that the client certificate has expired; renew it".to_owned(),
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => {
            format!("it refuses the client certificate ({alert:?}); renew client-certificate and client-key")
        }
        other => format!("it refuses the TLS connection ({other:?})"),
    }
}

fn of_io(error: &io::Error) -> Option<String> {
    let said = match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused; is an API server running there?",
        ErrorKind::TimedOut => "no connection in time; is the address right, and does a firewall drop packets?",
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "there is no route to it",
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => "it closed the connection",
        _ => return None,
    };
    Some(said.to_owned())
}

/// What stands between us and a proxy has no public types.
fn of_proxy(error: &str) -> Option<String> {
    let said = match error {
        "SOCKS error: failed to create underlying connection" => "the proxy cannot be reached; is it running there?",
        "tunnel error: proxy authorization required" => "the proxy wants a user and a password; give them in its URL",
        "tunnel error: unsuccessful" => "the proxy refuses to connect; does it allow this server and port?",
        _ => return None,
    };
    Some(said.to_owned())
}

/// Every reason, each once. The outermost say only that a client failed.
fn joined(errors: &[&(dyn Error + 'static)]) -> String {
    let outer = errors.iter().take_while(|error| error.is::<kube::Error>() || error.is::<legacy::Error>()).count();
    let mut words = String::new();
    for error in &errors[outer.min(errors.len() - 1)..] {
        let reason = error.to_string();
        if words.is_empty() {
            words = reason;
        } else if !words.contains(&reason) {
            words = format!("{words}: {reason}");
        }
    }
    words.chars().take(LONGEST).collect()
}

fn last(errors: &[&(dyn Error + 'static)]) -> String {
    errors.last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_said_with_what_to_do() {
        let tls = |error: rustls::Error| io::Error::other(error);
        for (error, expected) in [
            (io::Error::from(ErrorKind::ConnectionRefused), "connection refused; is an API server running there?"),
            (
                tls(rustls::Error::InvalidCertificate(CertificateError::Expired)),
                "its certificate has expired; renew it",
            ),
            (
                tls(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)),
                "its certificate is of no authority",
            ),
            (tls(rustls::Error::InvalidCertificate(CertificateError::NotValidForName)), "its certificate is for other"),
            (tls(rustls::Error::AlertReceived(AlertDescription::CertificateExpired)), "it says that the client"),
            (io::Error::other("tunnel error: proxy authorization required"), "the proxy wants a user and a password"),
            (io::Error::other("strange"), "strange"),
        ] {
            let words = reason(&io::Error::other(error));
            assert!(words.starts_with(expected), "{words}");
        }
    }

    #[test]
    fn a_long_reason_is_cut() {
        assert_eq!(reason(&io::Error::other("x".repeat(100_000))).len(), LONGEST);
    }
}
