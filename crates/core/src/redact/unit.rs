//! Unit files of systemd.

use super::{WITHHELD, text};

/// Directives whose value is one credential, behind its name and a colon.
const CREDENTIALS: [&str; 2] = ["SetCredential", "SetCredentialEncrypted"];

/// The unit file without comments, and without the values that it gives to programs.
pub fn unit_file(file: &str) -> String {
    let mut out = String::with_capacity(file.len());
    for line in logical_lines(file) {
        let trimmed = line.trim_start();
        if trimmed.starts_with(['#', ';']) {
            out.push_str("#\n");
            continue;
        }
        match trimmed.split_once('=') {
            Some((name, values)) if name.trim_end() == "Environment" => {
                out.push_str(&format!("Environment={}\n", names(values)));
            }
            Some((name, value)) if CREDENTIALS.contains(&name.trim_end()) => {
                let id = value.split_once(':').map_or("", |(id, _)| id.trim());
                out.push_str(&format!("{}={id}:{WITHHELD}\n", name.trim_end()));
            }
            _ => out.push_str(&format!("{}\n", text(&line))),
        }
    }
    out
}

/// Lines with those that continue them. Comments between them are skipped, as systemd does it.
fn logical_lines(file: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open: Option<String> = None;
    for line in file.lines() {
        if open.is_some() && line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let mut whole = open.take().unwrap_or_default();
        match line.strip_suffix('\\') {
            Some(part) => {
                whole.push_str(part);
                whole.push(' ');
                open = Some(whole);
            }
            None => {
                whole.push_str(line);
                lines.push(whole);
            }
        }
    }
    lines.extend(open);
    lines
}

/// `A=1 "B=2 3"` as `A=[withheld] B=[withheld]`. Where a value begins inside quotes is not worth following: what
/// stands before the first `=` of each word outside of quotes is a name.
fn names(values: &str) -> String {
    let mut names = Vec::new();
    let mut quote: Option<char> = None;
    let mut escaped = false;
    let mut word = String::new();
    for character in values.chars().chain([' ']) {
        if escaped || character == '\\' {
            escaped = !escaped;
            word.push(character);
            continue;
        }
        match quote {
            Some(open) if character == open => quote = None,
            Some(_) => word.push(character),
            None if matches!(character, '"' | '\'') => quote = Some(character),
            None if character.is_whitespace() => {
                if let Some((name, _)) = std::mem::take(&mut word).split_once('=') {
                    names.push(format!("{name}={WITHHELD}"));
                }
            }
            None => word.push(character),
        }
    }
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::unit_file;

    #[test]
    fn programs_values_go() {
        let from = "[Service]\n# s3cret\nEnvironment=\"PROXY=http://s3cret @x\" TOKEN=s3cret \\\n# s3cret\n  'A=s3cret'\n\
                    ExecStart=/usr/bin/containerd --token s3cret -l debug\nSetCredential=pw:top s3cret:s3cret\n\
                    Environment=\"PW=ab\\\" s3cret=x\"\nKillMode=process\n";
        let to = "[Service]\n#\nEnvironment=PROXY=[withheld] TOKEN=[withheld] A=[withheld]\n\
                  ExecStart=/usr/bin/containerd --token [withheld] -l debug\nSetCredential=pw:[withheld]\n\
                  Environment=PW=[withheld]\nKillMode=process\n";
        assert_eq!(unit_file(from), to);
    }
}
