//! The demo on a cluster, as a test: install by one object, pods, an upgrade beneath them, a release that fails, removal.

use xtask::task::demo::fleet;
use xtask::task::screen::Screen;
use xtask::testbed::trial::binary;

#[test]
fn a_runtime_comes_and_goes_in_a_cluster() -> anyhow::Result<()> {
    fleet::tell(&mut Screen::new(), &binary()?)
}
