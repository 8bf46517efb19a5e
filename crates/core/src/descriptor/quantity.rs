//! Kubernetes quantities (apimachinery's `resource.Quantity`), as far as an overhead takes them.

/// What a quantity measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// CPUs.
    Cpu,
    /// Bytes.
    Memory,
}

/// Why a text is not a quantity, and what may have been meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotAQuantity {
    pub(super) message: String,
    pub(super) hint: String,
}

const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];

/// Checks `text`.
pub(super) fn check(text: &str, measure: Measure) -> Result<(), NotAQuantity> {
    let example = match measure {
        Measure::Cpu => "CPUs are written as `250m` or `1.5`",
        Measure::Memory => "memory is written as `320Mi`, `1Gi` or `512M`",
    };
    let refuse = |why: &str, hint: String| {
        Err(NotAQuantity { message: format!("`{text}` is not a quantity: {why}"), hint })
    };
    if text.starts_with('-') {
        return refuse("an overhead cannot be negative", example.to_owned());
    }
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at_checked(end).unwrap_or((unsigned, ""));
    if !is_number(number) {
        return refuse("it does not begin with a number", example.to_owned());
    }
    if !BINARY.contains(&suffix) && !DECIMAL.contains(&suffix) && !is_exponent(suffix) {
        let hint =
            meant(suffix).map_or(example.to_owned(), |meant| format!("did you mean `{number}{meant}`?"));
        return refuse(&format!("`{suffix}` is not a unit"), hint);
    }
    if measure == Measure::Memory && matches!(suffix, "n" | "u" | "m") {
        let hint = if suffix == "m" { format!("did you mean `{number}Mi`?") } else { example.to_owned() };
        return refuse(&format!("`{suffix}` makes fractions of a byte"), hint);
    }
    Ok(())
}

fn is_number(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_digit()) && text.bytes().filter(|b| *b == b'.').count() <= 1
}

fn is_exponent(suffix: &str) -> bool {
    suffix.strip_prefix(['e', 'E']).is_some_and(|digits| {
        let digits = digits.strip_prefix(['+', '-']).unwrap_or(digits);
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

/// The unit that a wrong one stands for: `MB`, `mib`, `GiB`, ` Mi`.
fn meant(suffix: &str) -> Option<String> {
    let word = suffix.trim().to_ascii_lowercase();
    let word = word.strip_suffix('b').unwrap_or(&word);
    let mut letters = word.chars();
    let first = letters.next().filter(|c| "kmgtpe".contains(*c))?.to_ascii_uppercase();
    match letters.as_str() {
        "" if first == 'K' => Some("k".to_owned()),
        "" => Some(first.to_string()),
        "i" => Some(format!("{first}i")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_kubernetes_accepts() {
        for good in ["0", "1", "1.5", ".5", "5.", "+1", "250m", "1e3", "1E-3", "2k", "3M", "4Ei", "5E"] {
            assert_eq!(check(good, Measure::Cpu), Ok(()), "{good}");
        }
        for good in ["320Mi", "1Gi", "512M", "128974848", "129e6"] {
            assert_eq!(check(good, Measure::Memory), Ok(()), "{good}");
        }
    }

    #[test]
    fn refuses_the_rest_and_guesses() {
        for bad in ["", "-1", "m", "1.2.3", ".", "1K", "1mi", "1 Gi", "1e", "1Mi ", "0x1", "½", "1ä"] {
            assert!(check(bad, Measure::Cpu).is_err(), "{bad}");
        }
        for (bad, meant) in
            [("320MB", "320M"), ("1gib", "1Gi"), ("1 Gi", "1Gi"), ("320m", "320Mi"), ("7K", "7k")]
        {
            let hint = check(bad, Measure::Memory).unwrap_err().hint;
            assert_eq!(hint, format!("did you mean `{meant}`?"), "{bad}");
        }
    }
}
