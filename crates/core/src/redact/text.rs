//! Free text: messages, arguments, single values.

use super::{WITHHELD, is_secret};
use std::borrow::Cow;

const PEM: &str = "-----BEGIN";

/// The text without secrets: PEM blocks, what a URL holds beside its place, HTTP credentials, and values that follow a
/// word which calls itself secret.
pub fn text(text: &str) -> String {
    assignments(&credentials(&urls(&pem(text))))
}

/// A PEM block and all that follows it: how it ends is not worth trusting.
fn pem(text: &str) -> Cow<'_, str> {
    match text.split_once(PEM) {
        Some((before, _)) => Cow::Owned(format!("{before}{WITHHELD}")),
        None => Cow::Borrowed(text),
    }
}

/// User and password of each URL, its query and its fragment.
fn urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let end = after.find(ends_word).unwrap_or(after.len());
        let (url, next) = after.split_at(end);
        let place = url.find(['?', '#']).unwrap_or(url.len());
        let (place, extra) = url.split_at(place);
        // A password may hold a slash that somebody forgot to escape: everything before the last @ goes.
        match place.rsplit_once('@') {
            Some((_, host)) => out.push_str(&format!("{WITHHELD}@{host}")),
            None => out.push_str(place),
        }
        if let Some(mark) = extra.chars().next() {
            out.push_str(&format!("{mark}{WITHHELD}"));
        }
        rest = next;
    }
    out.push_str(rest);
    out
}

fn ends_word(character: char) -> bool {
    character.is_whitespace() || matches!(character, '"' | '\'' | '`' | '<' | '>' | '\\')
}

/// `Basic ...` and `Bearer ...`.
fn credentials(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut secret = false;
    for word in text.split_inclusive(char::is_whitespace) {
        let bare = word.trim_end();
        let space = word.get(bare.len()..).unwrap_or_default();
        if secret && !bare.is_empty() {
            out.push_str(WITHHELD);
        } else {
            out.push_str(bare);
        }
        out.push_str(space);
        let name = bare.trim_start_matches(['"', '\'', '`']);
        // Whitespace may be several characters, each a word of its own here.
        secret = if bare.is_empty() {
            secret
        } else {
            ["basic", "bearer"].contains(&name.to_lowercase().as_str())
        };
    }
    out
}

/// `password=...`, `"auth": "..."`, `--token ...`.
fn assignments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_name) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c| !is_name(c)).unwrap_or(from.len());
        let (name, after) = from.split_at(end);
        out.push_str(before);
        out.push_str(name);
        rest = after;
        if is_header(name) && after.starts_with([':', '=']) {
            // A header's value has blanks in it: it ends where its quotes or its line do.
            let quote = before.chars().next_back().filter(|c| matches!(c, '"' | '\'' | '`'));
            let end = after.find(|c| c == '\n' || Some(c) == quote).unwrap_or(after.len());
            out.push_str(&format!("{} {WITHHELD}", after.get(..1).unwrap_or_default()));
            rest = after.get(end..).unwrap_or_default();
        } else if is_secret(name.trim_start_matches('-'))
            && let Some((sign, value)) = value_after(after, name.starts_with('-'))
        {
            out.push_str(sign);
            out.push_str(WITHHELD);
            rest = after.get(sign.len() + value..).unwrap_or_default();
        }
    }
    out.push_str(rest);
    out
}

fn is_header(name: &str) -> bool {
    let name = name.to_lowercase();
    name.ends_with("authorization") || name.ends_with("cookie")
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.')
}

/// What stands between a name and its value, and how many bytes the value has.
fn value_after(after: &str, is_flag: bool) -> Option<(&str, usize)> {
    let unquoted = after.trim_start_matches(['"', '\'', '\\', ']']);
    let spaced = unquoted.trim_start_matches([' ', '\t']);
    let value = match spaced.strip_prefix([':', '=']) {
        Some(value) => value.trim_start_matches([' ', '\t']),
        None if is_flag && spaced.len() < unquoted.len() => spaced,
        None => return None,
    };
    let sign = after.get(..after.len() - value.len())?;
    let open = value.trim_start_matches('\\');
    let length = match open.chars().next()? {
        quote @ ('"' | '\'') => {
            let slashes = value.len() - open.len();
            let inside = open.get(1..)?;
            let end = if slashes == 0 { unescaped(inside, quote) } else { inside.find(quote) };
            end.map_or(value.len(), |end| slashes + end + 2)
        }
        // Lists and tables end somewhere on the line.
        '[' | '{' => value.find('\n').unwrap_or(value.len()),
        // Commas and semicolons may belong to it.
        _ => value.find(char::is_whitespace).unwrap_or(value.len()),
    };
    (length > 0).then_some((sign, length))
}

/// Where `quote` stands in `text` without a backslash before it.
fn unescaped(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, character)| {
        let found = character == quote && !escaped;
        escaped = character == '\\' && !escaped;
        found.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn free_text() {
        for (from, to) in [
            ("nothing to hide: pod a/b, 3 s", "nothing to hide: pod a/b, 3 s"),
            (
                "GET https://ann:s3/c@ret@example.org/v2?sig=s3cret: 401",
                "GET https://[withheld]@example.org/v2?[withheld] 401",
            ),
            ("unix:///run/containerd/containerd.sock", "unix:///run/containerd/containerd.sock"),
            ("Authorization: Bearer s3cret", "Authorization: [withheld]"),
            ("curl -H \"Authorization: token s3cret\" x", "curl -H \"Authorization: [withheld]\" x"),
            ("Cookie: a=b; sid=s3cret\nnext", "Cookie: [withheld]\nnext"),
            ("--password=ab,s3cret -a", "--password=[withheld] -a"),
            ("\"auth\":\"ab\\\"s3cret\" x", "\"auth\":[withheld] x"),
            (
                "REGISTRY_PASS=s3cret --registry-pwd s3cret",
                "REGISTRY_PASS=[withheld] --registry-pwd [withheld]",
            ),
            ("sent \"basic s3cret\" twice", "sent \"basic [withheld] twice"),
            ("--token s3cret --root /run", "--token [withheld] --root /run"),
            ("--password='s3 cret' -a", "--password=[withheld] -a"),
            ("{\"auth\":\"s3cret\",\"n\":1}", "{\"auth\":[withheld],\"n\":1}"),
            ("{\\\"auth\\\":\\\"s3cret\\\"}", "{\\\"auth\\\":[withheld]}"),
            ("API_KEY=s3cret;B=c", "API_KEY=[withheld]"),
            ("key -----BEGIN PRIVATE KEY-----\ns3cret", "key [withheld]"),
            ("the token is gone", "the token is gone"),
        ] {
            assert_eq!(text(from), to);
            assert!(!text(from).contains("s3c"), "{from}");
        }
    }
}
