//! References to images: what is accepted means the same when it is written down and read again.

#![no_main]

use cofferdam_core::reference::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(reference) = Reference::new(text) else { return };
    let written = reference.to_string();
    assert!(!written.contains(char::is_whitespace), "{written:?}");
    let again = Reference::new(written.as_str());
    assert_eq!(again.as_ref(), Ok(&reference), "{written:?}");
    assert!(!reference.registry().is_empty() && !reference.host().is_empty(), "{reference:?}");
    assert!(!reference.repository().is_empty() && !reference.target().is_empty(), "{reference:?}");
    // These become parts of a request's path.
    let parts = [reference.repository().to_owned(), reference.target()];
    assert!(
        parts.iter().all(|part| !part.contains(['?', '#', '%', '\\']) && !part.contains("..")),
        "{parts:?}"
    );
    let _ = reference.is_loopback();
    let json = serde_json::to_string(&reference).unwrap();
    assert_eq!(serde_json::from_str::<Reference>(&json).unwrap(), reference);
});
