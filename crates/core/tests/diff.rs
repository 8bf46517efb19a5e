//! The unified diff that a plan shows.

use cofferdam_core::diff::unified;

#[test]
fn equal_texts_have_no_diff() {
    assert_eq!(unified("/f", Some("a\n"), Some("a\n")), "");
    assert_eq!(unified("/f", None, None), "");
}

#[test]
fn a_change_is_shown_with_its_surroundings() {
    assert_eq!(
        unified("/etc/f", Some("1\n2\n3\n4\n5\n6\n"), Some("1\n2\n3\n4\nfive\n6\n")),
        "--- a/etc/f\n+++ b/etc/f\n@@ -2,5 +2,5 @@\n 2\n 3\n 4\n-5\n+five\n 6\n"
    );
}

#[test]
fn files_come_and_go() {
    assert_eq!(unified("/f", None, Some("a\n")), "--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+a\n");
    assert_eq!(unified("/f", Some("a\n"), None), "--- a/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n");
    assert_eq!(unified("/f", None, Some("")), "--- /dev/null\n+++ b/f\n");
}

#[test]
fn line_ends_are_told_apart() {
    assert_eq!(
        unified("/f", Some("a"), Some("a\n")),
        "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n"
    );
    // The same line ends on both sides are not worth showing; different ones are.
    assert_eq!(unified("/f", Some("a\r\n"), Some("b\r\n")), "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n");
    assert_eq!(unified("/f", Some("a\r\n"), Some("a\n")), "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a^M\n+a\n");
    assert_eq!(
        unified("/f", Some("a\r\nb\r\n"), Some("a\r\nb\n")),
        "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n a^M\n-b^M\n+b\n"
    );
}
