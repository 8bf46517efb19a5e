//! What is packed comes out again. What others pack is in `tests/hostile`.

use super::{Limits, Packer, Unpacking};

#[test]
fn what_is_packed_comes_out_again() {
    let long = format!("{}/{}", "n".repeat(90), "m".repeat(150));
    let pack = || {
        let mut packer = Packer::new(Vec::new());
        packer.folder("bin", 0o755).unwrap();
        packer.file("bin/tool", 4, 0o755, &mut &b"tool"[..]).unwrap();
        packer.link("bin/link", "tool").unwrap();
        packer.file(&long, 4, 0o644, &mut &b"long"[..]).unwrap();
        packer.finish().unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let inside = std::fs::File::open(folder.path()).unwrap().into();
    Unpacking::new(inside, Limits::NORMAL).layer(pack().as_slice()).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!((read("bin/tool"), read(&long)), ("tool".to_owned(), "long".to_owned()));
    assert_eq!(std::fs::read_link(folder.path().join("bin/link")).unwrap().to_str(), Some("tool"));
    assert_eq!(pack(), pack(), "the same bytes each time");
    let short = Packer::new(Vec::new()).file("a", 5, 0o644, &mut &b"1234"[..]);
    assert!(short.unwrap_err().to_string().contains("shorter"));
}
