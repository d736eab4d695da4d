//! A request as its signature covers it: method, path, query and headers as they came, and nothing decoded.

use axum::http::header::HOST;
use axum::http::request::Parts;

use super::error::SigV4Error;

/// What of a request can be signed, the body aside.
#[derive(Debug)]
pub(super) struct SignedParts<'a> {
    pub(super) method: &'a str,
    /// As sent, percent-encoded.
    pub(super) path: &'a str,
    /// As sent, without the `?`.
    pub(super) query: &'a str,
    /// Names in lower case, in the order in which they came.
    pub(super) headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> SignedParts<'a> {
    /// Over HTTP/2 `:authority` stands for `host`.
    pub(super) fn of(parts: &'a Parts) -> Self {
        let mut headers: Vec<_> = parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        if !parts.headers.contains_key(HOST)
            && let Some(authority) = parts.uri.authority()
        {
            headers.push(("host", authority.as_str().as_bytes()));
        }
        Self {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            headers,
        }
    }

    /// All values of a header, in their order.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(own, _)| *own == name).map(|(_, value)| *value)
    }

    /// The value of a header that may come once.
    pub(super) fn value(&self, name: &str) -> Result<Option<&'a str>, SigV4Error> {
        let mut values = self.values(name);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(SigV4Error::incomplete(format!("The request has more than one '{name}' header.")));
        }
        let text = std::str::from_utf8(value)
            .map_err(|_| SigV4Error::incomplete(format!("The '{name}' header is not plain text.")))?;
        Ok(Some(text))
    }
}
