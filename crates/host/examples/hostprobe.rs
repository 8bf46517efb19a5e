//! Prints what the clients of this crate see on the machine it runs on.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use cofferdam_host::{cri, systemd};
use std::path::Path;
use std::time::{Duration, Instant};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args[0].as_str() {
        "cri" => {
            let cri = cri::Cri::connect(Path::new(&args[1])).unwrap();
            println!("{:?}\n{:#?}\n{:#?}", cri.version().unwrap(), cri.status().unwrap(), cri.sandboxes().unwrap());
        }
        "status-json" => {
            let cri = cri::Cri::connect(Path::new(&args[1])).unwrap();
            println!("{:#?}", cri.status());
        }
        "probe" => {
            let cri = cri::Cri::connect(Path::new(&args[1])).unwrap();
            let out = cri::probe(&cri, &args[2], &args[3], "1a2b", Instant::now() + Duration::from_secs(20));
            println!("{out:#?}\n{:?}", cri.sandboxes());
        }
        "unit" => {
            for mut m in [systemd::Manager::connect().unwrap(), systemd::Manager::connect_private().unwrap()] {
                println!("private {} {:#?}", m.is_private(), m.unit(&args[1]));
            }
        }
        "restart" => {
            let mut m = systemd::Manager::connect().unwrap();
            println!("{:?}", m.restart(&args[1], Duration::from_secs(30)));
            println!("{:?}", m.reload());
        }
        "transient" => {
            let mut m = systemd::Manager::connect_private().unwrap();
            let unit = systemd::TransientUnit {
                name: "hostprobe.service".into(), description: "test".into(),
                exec: args[1..].to_vec(), kind: systemd::Type::Simple, restart: systemd::Restart::OnAbnormal,
                restart_delay: Duration::from_millis(500), after: vec!["containerd.service".into()], runtime_limit: Some(Duration::from_secs(60)),
            };
            println!("{:?}", m.start_transient(&unit));
            println!("{}", m.start_transient(&unit).unwrap_err());
            println!("{:?}", m.unit("hostprobe.service"));
            m.kill_main("hostprobe.service").unwrap();
            std::thread::sleep(Duration::from_secs(1));
            println!("{:?}", m.unit("hostprobe.service"));
            println!("{:?}", m.stop("hostprobe.service", Duration::from_secs(5)));
            println!("{:?}", m.unit("hostprobe.service"));
        }
        _ => {}
    }
}
