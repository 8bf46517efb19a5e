//! What of a host's files may leave it: the same text with each secret replaced.
//!
//! Secrets are found by structure: by the key above a value, by the form of a value (a URL's user and query, a PEM
//! block, an HTTP credential), and, in free text, by the word before it. Comments go, since anything may stand in them.
//! What cannot be parsed is withheld as a whole.

mod text;
mod toml;
mod unit;

pub use text::text;
pub use toml::toml;
pub use unit::unit_file;

use serde_json::Value;

/// Stands where a secret stood.
pub const WITHHELD: &str = "[withheld]";

/// Parts of names that say that a secret follows.
const SECRET_PARTS: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "username",
    "authorization",
    "apikey",
    "api_key",
    "cookie",
    "private_key",
    "privatekey",
];

/// Whole names that say so.
const SECRET_NAMES: [&str; 11] =
    ["auth", "auths", "header", "headers", "key", "pem", "bearer", "basic", "userinfo", "pass", "pwd"];

/// Ends of names that say so.
const SECRET_ENDS: [&str; 7] = ["_key", "_auth", "_pem", "_key_data", "_pass", "_pwd", "_pat"];

/// Whether what stands below the key `name` is secret: registries' `auth`, `password`, `identitytoken`, `username`;
/// HTTP headers; keys; and whatever calls itself so.
pub fn is_secret(name: &str) -> bool {
    let name = snake(name);
    SECRET_NAMES.contains(&name.as_str())
        || SECRET_PARTS.iter().any(|part| name.contains(part))
        || SECRET_ENDS.iter().any(|end| name.ends_with(end))
}

/// Whether `argument` is an option of a program whose value, in the next argument, is secret.
fn is_secret_flag(argument: &str) -> bool {
    argument.starts_with('-') && is_secret(argument.trim_start_matches('-'))
}

/// `AccessKey`, `access-key` and `ACCESS_KEY` are one name.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    let mut was_lower = false;
    for character in name.chars() {
        if was_lower && character.is_ascii_uppercase() {
            snake.push('_');
        }
        was_lower = character.is_ascii_lowercase() || character.is_ascii_digit();
        snake.push(match character {
            '-' | '.' => '_',
            other => other.to_ascii_lowercase(),
        });
    }
    snake
}

/// JSON without secrets.
pub fn json(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(key, value)| {
                    let value = if is_secret(&key) { withhold(value) } else { json(value) };
                    (text(&key), value)
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(list(items)),
        Value::String(string) => Value::String(text(&string)),
        other => other,
    }
}

/// Arguments of a program are a list, too: the one after `--token` is secret.
fn list(items: Vec<Value>) -> Vec<Value> {
    let mut follows = false;
    items
        .into_iter()
        .map(|item| {
            let is_value = std::mem::take(&mut follows);
            if let Value::String(string) = &item {
                follows = is_secret_flag(string);
            }
            if is_value && !follows { withhold(item) } else { json(item) }
        })
        .collect()
}

/// All values below a secret key; names and numbers of entries stay.
fn withhold(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(key, value)| (text(&key), withhold(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(withhold).collect()),
        Value::Null => Value::Null,
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Value::String(WITHHELD.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_that_say_so() {
        for name in
            ["auth", "identitytoken", "X-Api-Key", "AccessKey", "client_key", "HTTP_PASSWORD", "headers"]
        {
            assert!(is_secret(name), "{name}");
        }
        for name in ["runtime_type", "handler", "author", "config_path", "key_model", "monkeys", "generation"]
        {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn values_below_secret_names() {
        let redacted = super::json(json!({
            "auths": {"registry.example": {"auth": "c2VjcmV0", "n": 7}},
            "args": ["--log-level", "debug", "--token", "hunter2", "--x"],
            "url": "https://ann:hunter2@example.org/v2",
            "plain": ["a", true, 3, null]
        }));
        assert_eq!(
            redacted,
            json!({
                "auths": {"registry.example": {"auth": WITHHELD, "n": WITHHELD}},
                "args": ["--log-level", "debug", "--token", WITHHELD, "--x"],
                "url": format!("https://{WITHHELD}@example.org/v2"),
                "plain": ["a", true, 3, null]
            })
        );
    }
}
