//! What would give a program more power than its caller has.

use super::tar::{Head, Tar, tar};
use super::{Case, Class};
use cofferdam_core::name::PackagePath;
use cofferdam_host::archive::Options;

fn with_xattr(name: &str) -> Tar {
    tar().pax(&[(&format!("SCHILY.xattr.{name}"), "value")]).file("a", "x")
}

fn asked(options: &mut Options) {
    options.setuid.insert(PackagePath::new("a").unwrap());
}

pub fn classes() -> Vec<Class> {
    let special = |mode: u64| tar().head(Head::new(b'0', "a").mode(mode), b"");
    let plain = |name: &str, archive: Tar, there: &str| Case::unpacked(name, archive.end(), &[there]);
    vec![
        Class {
            name: "setuid and setgid",
            source: "CVE-2021-41103 (containerd)",
            cases: vec![
                Case::refused("setuid", special(0o4755).end(), "setuid or setgid"),
                Case::refused("setgid", special(0o2755).end(), "setuid or setgid"),
                Case::refused("both", special(0o6755).end(), "setuid or setgid"),
                Case::refused("nobody may run it", special(0o4000).end(), "setuid or setgid"),
                Case::refused(
                    "for another file",
                    tar().head(Head::new(b'0', "b").mode(0o4755), b"").end(),
                    "setuid or setgid",
                )
                .with(asked),
                // It becomes so where it is installed.
                plain("asked for", special(0o4755), "a 755 ").with(asked),
                Case::refused("setgid asked for", special(0o2711).end(), "setuid or setgid").with(asked),
                Case::refused("both asked for", special(0o6755).end(), "setuid or setgid").with(asked),
                plain("asked for, and not there", special(0o755), "a 755 ").with(asked),
            ],
        },
        Class {
            name: "wide and narrow modes",
            source: "CVE-2024-25621 (containerd)",
            cases: vec![
                plain("a file for all to write", special(0o666), "a 644 "),
                plain("a program for all to write", special(0o777), "a 755 "),
                plain("a sticky file", special(0o1777), "a 755 "),
                plain("a file for nobody", special(0), "a 644 "),
                plain("a program of root's", special(0o100), "a 755 "),
                plain("a folder for all", tar().head(Head::new(b'5', "a").mode(0o7777), b""), "a /"),
                plain("more bits than there are", special(0o177_777 & !0o6000), "a 755 "),
            ],
        },
        Class {
            name: "capabilities",
            source: "setuid by another name: security.capability",
            cases: vec![
                Case::refused("of a file", with_xattr("security.capability").end(), "has capabilities"),
                Case::refused(
                    "listed all the same",
                    with_xattr("security.capability").end(),
                    "has capabilities",
                )
                .with(|options| options.xattrs.push("*".to_owned())),
                Case::refused(
                    "of one that may be setuid",
                    with_xattr("security.capability").end(),
                    "has cap",
                )
                .with(asked),
            ],
        },
        Class {
            name: "extended attributes that nobody asked for",
            source: "overlayfs believes trusted.overlay.*; SELinux and IMA theirs",
            cases: [
                "user.x",
                "trusted.overlay.redirect",
                "trusted.overlay.opaque",
                "user.overlay.opaque",
                "security.selinux",
                "security.ima",
                "system.posix_acl_access",
                "",
                "no-such-kind.x",
            ]
            .into_iter()
            .flat_map(|name| {
                let never = !matches!(name, "user.x" | "" | "no-such-kind.x");
                let dropped = plain(&format!("{name:?}"), with_xattr(name), "a 644 x");
                let listed = never.then(|| {
                    plain(&format!("{name:?}, listed all the same"), with_xattr(name), "a 644 x")
                        .with(|options| options.xattrs.push("*".to_owned()))
                });
                [Some(dropped), listed].into_iter().flatten()
            })
            .collect(),
        },
        Class {
            name: "the same attribute twice",
            source: "two readers keep different ones",
            cases: vec![Case::refused(
                "user.x",
                tar().pax(&[("SCHILY.xattr.user.x", "1"), ("SCHILY.xattr.user.x", "2")]).file("a", "").end(),
                "twice",
            )],
        },
        Class {
            name: "owners and times",
            source: "tar -p as root: files of somebody else's, from the future",
            cases: vec![
                plain(
                    "in the header",
                    tar().head(Head::new(b'0', "a").octal(108, 8, 1000).octal(136, 12, 1 << 32), b""),
                    "a 644 ",
                ),
                plain(
                    "by PAX",
                    tar()
                        .pax(&[
                            ("uid", "1000"),
                            ("gid", "-5"),
                            ("uname", "../x"),
                            ("mtime", "-1e99"),
                            ("atime", ""),
                        ])
                        .file("a", ""),
                    "a 644 ",
                ),
            ],
        },
    ]
}
