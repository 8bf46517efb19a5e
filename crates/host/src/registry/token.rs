//! Tokens: what a registry that asks who we are is told.

use super::challenge::Challenge;
use super::endpoint::{Endpoint, MOST_ANSWER, wait_of};
use super::error::Action;
use super::{Login, RegistryError, retry};
use crate::net::{HttpClient, Reply};
use cofferdam_core::class::Class;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Uri};

type Result<T> = std::result::Result<T, RegistryError>;

impl Endpoint {
    /// What is to be sent in answer to a challenge; none if we are nobody and the registry wants somebody.
    pub(super) fn answer(&self, challenge: &Challenge, login: Option<&Login>) -> Result<Option<HeaderValue>> {
        let text = match (challenge, login) {
            (Challenge::Basic, Some(Login::Basic { username, password })) => Login::basic(username, password),
            (_, Some(Login::Bearer { token })) => format!("Bearer {token}"),
            (Challenge::Basic, Some(Login::Identity { .. }) | None) => return Ok(None),
            (Challenge::Bearer { realm, service, scope }, login) => {
                format!("Bearer {}", self.token(realm, service.as_deref(), scope.as_deref(), login)?)
            }
        };
        let refuse =
            |_| self.no_token("", "the credentials hold what cannot stand in a header", Class::Invalid);
        let mut value = HeaderValue::from_str(&text).map_err(refuse)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn no_token(&self, realm: &str, reason: &str, class: Class) -> RegistryError {
        let registry = self.site.name.clone();
        let (realm, reason) = (realm.to_owned(), reason.to_owned());
        RegistryError::Token { registry, realm, reason, class, wait: None }
    }

    /// Has a token given for our login. The password goes where the registry says, by TLS as to the registry itself.
    fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
        login: Option<&Login>,
    ) -> Result<String> {
        let uri: Uri = realm.parse().map_err(|_| self.no_token(realm, "it is no address", Class::Invalid))?;
        let plain = uri.scheme_str() == Some("http") && self.scheme()? == "http";
        if uri.scheme_str() != Some("https") && !plain {
            let reason = "it is no https address, and credentials are sent over TLS only";
            return Err(self.no_token(realm, reason, Class::Invalid));
        }
        let actions = match self.action {
            Action::Pull => "pull",
            Action::Push => "pull,push",
        };
        // A registry that asks for less than it needs would refuse us again.
        let own = format!("repository:{}:{actions}", self.site.repository);
        let scope = scope.filter(|scope| !scope.is_empty()).unwrap_or(&own);
        let mut parameters = vec![("scope", scope)];
        parameters.extend(service.map(|service| ("service", service)));
        let request = match login {
            Some(Login::Identity { token }) => {
                parameters.extend([
                    ("grant_type", "refresh_token"),
                    ("client_id", "cofferdam"),
                    ("refresh_token", token.as_str()),
                ]);
                Request::post(&uri)
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(HttpClient::bytes(encoded(&parameters)))
            }
            login => {
                let joint = if uri.query().is_some() { '&' } else { '?' };
                let request = Request::get(format!("{uri}{joint}{}", encoded(&parameters)));
                match login {
                    Some(Login::Basic { username, password }) => {
                        request.header(AUTHORIZATION, Login::basic(username, password))
                    }
                    _ => request,
                }
                .body(HttpClient::empty())
            }
        };
        let request = request.map_err(|error| self.no_token(realm, &error.to_string(), Class::Invalid))?;
        self.read_token(realm, self.client.send(request)?)
    }

    fn read_token(&self, realm: &str, mut reply: Reply<'_>) -> Result<String> {
        #[derive(serde::Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let status = reply.status;
        let refuse = |reason: &str, class| Err(self.no_token(realm, reason, class));
        let wait = wait_of(&reply.headers);
        match status.as_u16() {
            200 => {}
            400 | 401 | 403 => return Err(self.denied(status)),
            code if retry::is_passing(code) => {
                let (registry, realm) = (self.site.name.clone(), realm.to_owned());
                let (reason, class) = (format!("it answered {code}"), Class::Unavailable);
                return Err(RegistryError::Token { registry, realm, reason, class, wait });
            }
            code => return refuse(&format!("it answered {code}"), Class::Invalid),
        }
        let bytes = reply.body.all(MOST_ANSWER)?.unwrap_or_default();
        let answer: Option<Answer> = serde_json::from_slice(&bytes).ok();
        match answer.and_then(|answer| answer.token.or(answer.access_token)) {
            Some(token) if !token.is_empty() => Ok(token),
            _ => refuse("its answer holds no token", Class::Unavailable),
        }
    }
}

/// Parameters as they stand in a query or a form.
fn encoded(parameters: &[(&str, &str)]) -> String {
    let escape = |text: &str| {
        let mut escaped = String::new();
        for byte in text.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    escaped.push(char::from(byte));
                }
                _ => escaped.push_str(&format!("%{byte:02X}")),
            }
        }
        escaped
    };
    let pairs = parameters.iter().map(|(key, value)| format!("{key}={}", escape(value)));
    pairs.collect::<Vec<_>>().join("&")
}
