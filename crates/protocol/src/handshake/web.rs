//! Which web pages may connect, and under which names this machine may be called.
//!
//! A browser on a machine that is let in runs programs of strangers: web pages. It says with each
//! request which page makes it (`Origin`), and to which name (`Host`). Programs send no `Origin`. The
//! name matters because a stranger can let his own name point to this machine, so that his page counts
//! as one of this machine.

use std::net::IpAddr;

use hyper::Request;
use hyper::header::{self, HeaderName, HeaderValue};
use thiserror::Error;

/// The most bytes of a foreign header that a refusal repeats.
const MAX_TOLD: usize = 100;

/// What the operator allows, beside programs that use an address or `localhost`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebAccess {
    /// Web pages, as browsers name them: `https://tools.example:8443`.
    pub origins: Vec<String>,
    /// Names of this machine, without a port.
    pub hosts: Vec<String>,
}

/// Why a request over HTTP is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WebRefusal {
    /// A web page that is not listed.
    #[error("web pages of {0} may not connect here")]
    Origin(String),
    /// A name that is not one of this machine.
    #[error("this machine does not go by the name {0}")]
    Host(String),
}

impl WebAccess {
    /// Whether a request may go on; gives the origin that its answer has to allow, if it has one.
    ///
    /// # Errors
    /// [`WebRefusal`].
    pub(super) fn check<Body>(
        &self,
        request: &Request<Body>,
    ) -> Result<Option<HeaderValue>, WebRefusal> {
        let mut hosts: Vec<&[u8]> = values(request, &header::HOST).collect();
        // The target of a request can name the host, too.
        hosts.extend(
            request
                .uri()
                .authority()
                .map(|named| named.as_str().as_bytes()),
        );
        for host in hosts {
            if !self.is_own_name(host) {
                return Err(WebRefusal::Host(told(host)));
            }
        }
        let mut allowed = None;
        for origin in request.headers().get_all(header::ORIGIN) {
            let bytes = origin.as_bytes();
            let is_listed = |listed: &String| bytes.eq_ignore_ascii_case(listed.as_bytes());
            if !self.origins.iter().any(is_listed) {
                return Err(WebRefusal::Origin(told(bytes)));
            }
            allowed = Some(origin.clone());
        }
        Ok(allowed)
    }

    fn is_own_name(&self, host: &[u8]) -> bool {
        let Ok(host) = std::str::from_utf8(host) else {
            return false;
        };
        let name = without_port(host);
        let name = name.strip_suffix('.').unwrap_or(name);
        name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
    }
}

fn values<'request, Body>(
    request: &'request Request<Body>,
    name: &HeaderName,
) -> impl Iterator<Item = &'request [u8]> {
    let values = request.headers().get_all(name).into_iter();
    values.map(HeaderValue::as_bytes)
}

/// The name or address in `name:port`, `1.2.3.4:port` or `[::1]:port`.
fn without_port(host: &str) -> &str {
    if let Some(bracketed) = host.strip_prefix('[') {
        return bracketed.split(']').next().unwrap_or(bracketed);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

/// A foreign header, safe to show.
fn told(bytes: &[u8]) -> String {
    let shown = bytes.get(..MAX_TOLD).unwrap_or(bytes);
    shown.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&str, &str)]) -> Result<bool, WebRefusal> {
        let access = WebAccess {
            origins: vec!["https://tools.example".to_owned()],
            hosts: vec!["lan.example".to_owned()],
        };
        let mut request = Request::builder().uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let allowed = access.check(&request.body(()).unwrap())?;
        Ok(allowed.is_some())
    }

    #[test]
    fn programs_are_served_by_address_and_by_the_names_of_the_machine() {
        for host in [
            "127.0.0.1",
            "192.168.1.7:23552",
            "[::1]:23552",
            "localhost:1",
            "LOCALHOST.",
            "Lan.Example:80",
        ] {
            assert_eq!(check(&[("host", host)]), Ok(false), "{host}");
        }
        assert_eq!(check(&[]), Ok(false));
    }

    #[test]
    fn names_of_strangers_are_refused_in_every_form() {
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example:23552",
            "xlocalhost",
            "",
            "[evil.example]:1",
            "127.0.0.1@evil.example",
        ] {
            assert!(
                matches!(check(&[("host", host)]), Err(WebRefusal::Host(_))),
                "{host}"
            );
        }
        let twice = [("host", "localhost"), ("host", "evil.example")];
        assert!(matches!(check(&twice), Err(WebRefusal::Host(_))));
    }

    #[test]
    fn pages_are_refused_unless_they_are_listed() {
        for origin in [
            "https://evil.example",
            "http://tools.example",
            "https://tools.example:8443",
            "https://tools.example.evil.example",
            "null",
            "",
            "http://127.0.0.1",
            "http://localhost:3000",
        ] {
            assert!(
                matches!(check(&[("origin", origin)]), Err(WebRefusal::Origin(_))),
                "{origin}"
            );
        }
        assert_eq!(check(&[("origin", "https://tools.example")]), Ok(true));
        let twice = [
            ("origin", "https://tools.example"),
            ("origin", "https://evil.example"),
        ];
        assert!(matches!(check(&twice), Err(WebRefusal::Origin(_))));
    }
}
