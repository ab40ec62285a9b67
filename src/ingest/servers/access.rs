//! Where a server is, and what it wants to know of who asks. Secrets never show in what is printed.

use std::fmt;
use std::path::PathBuf;

use url::Url;

/// A server that is asked about a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Server {
    Prometheus,
    Tempo,
    Pyroscope,
    Loki,
}

impl Server {
    pub const ALL: [Server; 4] = [Server::Prometheus, Server::Tempo, Server::Pyroscope, Server::Loki];

    pub fn name(self) -> &'static str {
        match self {
            Server::Prometheus => "prometheus",
            Server::Tempo => "tempo",
            Server::Pyroscope => "pyroscope",
            Server::Loki => "loki",
        }
    }
}

/// How a server is reached.
#[derive(Debug, Clone)]
pub struct Access {
    /// Without user, password, query and fragment; a path is put before every question's.
    pub url: Url,
    pub credentials: Credentials,
    /// For servers of several tenants: `X-Scope-OrgID`.
    pub tenant: Option<String>,
    pub tls: Tls,
    pub proxy: Option<Url>,
}

#[derive(Debug, Clone, Default)]
pub enum Credentials {
    #[default]
    None,
    Basic {
        user: String,
        password: Secret,
    },
    Bearer(Secret),
}

#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Certificates in PEM that are trusted besides those of the system.
    pub authorities: Option<PathBuf>,
    /// Our own certificate and its key in PEM, in one file.
    pub identity: Option<PathBuf>,
    /// Takes any certificate.
    pub is_unverified: bool,
}

/// A text that is not shown.
#[derive(Clone)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    // The address itself may hold a password.
    #[error("it is no address such as http://127.0.0.1:9090: {0}")]
    Malformed(url::ParseError),
    #[error("its scheme is {0}, and not http or https")]
    Scheme(String),
}

impl Access {
    /// Reads an address; what it holds of a user and a password becomes credentials.
    pub fn parse(address: &str) -> Result<Access, AddressError> {
        let mut url = Url::parse(address.trim()).map_err(AddressError::Malformed)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(AddressError::Scheme(url.scheme().to_owned()));
        }
        let decoded = |text: &str| percent_decoded(text);
        let credentials = match (url.username(), url.password()) {
            ("", None) => Credentials::None,
            (user, password) => {
                Credentials::Basic { user: decoded(user), password: Secret(decoded(password.unwrap_or_default())) }
            }
        };
        let cleared = url.set_username("").and_then(|()| url.set_password(None));
        debug_assert!(cleared.is_ok(), "an http address takes both");
        url.set_query(None);
        url.set_fragment(None);
        Ok(Access { url, credentials, tenant: None, tls: Tls::default(), proxy: None })
    }
}

fn percent_decoded(text: &str) -> String {
    // A plus is a plus in this part of an address, and a space in a form.
    let form = format!("x={}", text.replace('+', "%2B").replace('&', "%26"));
    let decoded = url::form_urlencoded::parse(form.as_bytes()).next();
    decoded.map(|(_, value)| value.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_leave_the_address() {
        let access = Access::parse(" https://me%40home:p%3Aw+d%26x@host:9090/prefix/?token=abc#x ").unwrap();
        assert_eq!(access.url.as_str(), "https://host:9090/prefix/");
        let Credentials::Basic { user, password } = &access.credentials else { panic!("{access:?}") };
        assert_eq!((user.as_str(), password.0.as_str()), ("me@home", "p:w+d&x"));
        let shown = format!("{access:?}");
        assert!(!shown.contains("p:w") && !shown.contains("abc"), "{shown}");
        assert!(matches!(Access::parse("http://h").unwrap().credentials, Credentials::None));
    }

    #[test]
    fn what_is_no_address() {
        for (text, expected) in [
            ("", "no address"),
            ("127.0.0.1:9090", "no address"),
            ("localhost:9090", "scheme is localhost"),
            ("file:///etc/passwd", "scheme is file"),
            ("http://user:secret@", "no address"),
        ] {
            let error = Access::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
