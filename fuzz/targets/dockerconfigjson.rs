//! Files with logins: read without a crash, found without a crash, and never shown.

#![no_main]

use cofferdam_host::registry::Keyring;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// The password in the seeds; and what HTTP's basic authentication makes of `user:` and it.
const SECRETS: [&str; 2] = ["hunter2-hunter2", "dXNlcjpodW50ZXIyLWh1bnRlcjI"];

fuzz_target!(|text: &str| {
    let keyring = match Keyring::parse(text, "fuzz.json") {
        Ok(keyring) => keyring,
        Err(error) => {
            let told = error.to_string();
            // Names of registries are told: what stands there is no secret.
            let whole = serde_json::from_str(text).unwrap_or_default();
            let leaked = SECRETS.iter().find(|secret| told.contains(**secret) && !is_a_name(secret, &whole));
            assert_eq!(leaked, None, "{told}");
            return;
        }
    };
    for (registry, repository) in [
        ("registry.example.com", "team/gvisor"),
        ("registry.example.com:5000", "team/deep/er/gvisor"),
        ("docker.io", "library/busybox"),
        ("a.b.example.com", "x"),
    ] {
        let _ = keyring.find(registry, repository);
    }
    // To the worker and back.
    let json = serde_json::to_string(&keyring).unwrap();
    assert_eq!(serde_json::from_str::<Keyring>(&json).unwrap(), keyring);
});

/// Whether it stands in the name of a field.
fn is_a_name(text: &str, value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| name.contains(text) || is_a_name(text, value))
        }
        Value::Array(values) => values.iter().any(|value| is_a_name(text, value)),
        _ => false,
    }
}
