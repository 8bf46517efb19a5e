//! TOML: an engine's configuration, a registry's `hosts.toml`. Lines and order stay.

use super::{WITHHELD, is_secret, is_secret_flag, text};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Key, TableLike, Value};

/// Comments that begin so are Cofferdam's own, and stay.
const OURS: &str = "# cofferdam:";

/// The document without secrets and without others' comments.
///
/// # Errors
/// If it is not TOML: the parser's words, without the text.
pub fn toml(document: &str) -> Result<String, String> {
    let mut parsed: DocumentMut =
        document.parse().map_err(|error: toml_edit::TomlError| error.message().to_owned())?;
    table(parsed.as_table_mut(), false);
    Ok(without_comments(&parsed.to_string()))
}

/// All that is in a table; `secret` if a key above it says so.
fn table(table: &mut dyn TableLike, secret: bool) {
    for (key, node) in table.iter_mut() {
        item(node, secret || is_secret(key.get()));
    }
    let renamed: Vec<String> =
        table.iter().map(|(key, _)| key.to_owned()).filter(|key| text(key) != *key).collect();
    for key in renamed {
        if let Some(node) = table.remove(&key) {
            table.entry_format(&Key::new(text(&key))).or_insert(node);
        }
    }
}

fn item(item: &mut Item, secret: bool) {
    match item {
        Item::None => {}
        Item::Value(found) => value(found, secret),
        Item::Table(found) => table(found, secret),
        Item::ArrayOfTables(tables) => tables.iter_mut().for_each(|found| table(found, secret)),
    }
}

fn value(value: &mut Value, secret: bool) {
    let replacement = match value {
        Value::Array(items) => return array(items, secret),
        Value::InlineTable(inline) => return inline_table(inline, secret),
        _ if secret => WITHHELD.to_owned(),
        Value::String(string) if text(string.value()) != *string.value() => text(string.value()),
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            return;
        }
    };
    let decor = value.decor().clone();
    *value = Value::from(replacement);
    *value.decor_mut() = decor;
}

/// Arguments of a program are a list, too: the one after `--token` is secret.
fn array(items: &mut Array, secret: bool) {
    let mut follows = false;
    for item in items.iter_mut() {
        let is_flag = item.as_str().is_some_and(is_secret_flag);
        value(item, secret || follows && !is_flag);
        follows = is_flag;
    }
}

fn inline_table(inline: &mut InlineTable, secret: bool) {
    table(inline, secret);
}

/// The same lines without what follows `#` outside of strings.
fn without_comments(document: &str) -> String {
    let mut out = String::with_capacity(document.len());
    let mut rest = document;
    while let Some(at) = rest.find(['#', '"', '\'']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let length = if from.starts_with('#') { comment(from) } else { string(from) };
        let (found, next) = from.split_at(length);
        if !found.starts_with('#') {
            out.push_str(found);
        } else if found.starts_with(OURS) {
            out.push_str(&text(found));
        } else {
            out.push('#');
        }
        rest = next;
    }
    out.push_str(rest);
    out
}

fn comment(from: &str) -> usize {
    from.find(['\n', '\r']).unwrap_or(from.len())
}

/// How long the string is that `from` begins with.
fn string(from: &str) -> usize {
    let quote = if from.starts_with('"') { "\"" } else { "'" };
    let triple = quote.repeat(3);
    let close = if from.starts_with(&triple) { triple.as_str() } else { quote };
    let mut at = close.len();
    loop {
        let Some(rest) = from.get(at..).filter(|rest| !rest.is_empty()) else { return from.len() };
        if quote == "\"" && rest.starts_with('\\') {
            at += 1 + rest.chars().nth(1).map_or(0, char::len_utf8);
        } else if rest.starts_with(close) {
            at += close.len();
            // One or two more quotes belong to a multi-line string's content.
            let more = from.get(at..).map_or(0, |rest| rest.len() - rest.trim_start_matches(quote).len());
            return at + if close.len() == 3 { more.min(2) } else { 0 };
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::toml;

    #[test]
    fn lines_and_order_stay_and_secrets_go() {
        let from = r##"version = 2 # password s3cret
# s3cret
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "example.org/pause:3#9" # "s3cret
  # cofferdam: gvisor-oci. Do not edit
  [plugins."io.containerd.grpc.v1.cri".registry.configs."example.org".auth]
    username = "s3cret"
    auth = """s3cret"
# s3cret"""
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."https://ann:s3cret@example.org"]
    endpoint = ["https://example.org", 'https://ann:s3cret@example.org']
[host."https://example.org".header]
  x-meta = ["s3cret", 5]
[proxy]
  inline = { name = "a", token = { v = "s3cret" }, n = 0x10 }
"##;
        let to = r##"version = 2 #
#
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "example.org/pause:3#9" #
  # cofferdam: gvisor-oci. Do not edit
  [plugins."io.containerd.grpc.v1.cri".registry.configs."example.org".auth]
    username = "[withheld]"
    auth = "[withheld]"
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."https://[withheld]@example.org"]
    endpoint = ["https://example.org", "https://[withheld]@example.org"]
[host."https://example.org".header]
  x-meta = ["[withheld]", "[withheld]"]
[proxy]
  inline = { name = "a", token = { v = "[withheld]" }, n = 0x10 }
"##;
        assert_eq!(toml(from).unwrap(), to);
    }

    #[test]
    fn what_is_no_toml_is_not_shown() {
        let error = toml("password = \"s3cret\nx = [").unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
    }

    #[test]
    fn comments_are_told_from_strings() {
        let from =
            "a = \"\\\"#\" #x\nb = '\\' #x\nc = '''it's #''''' #x\nd = \"\" # x\r\ne = \"\"\"\\\"\"\"\"#\"\n";
        let text = super::without_comments(from);
        assert_eq!(
            text,
            "a = \"\\\"#\" #\nb = '\\' #\nc = '''it's #''''' #\nd = \"\" #\r\ne = \"\"\"\\\"\"\"\"#\n"
        );
    }
}
