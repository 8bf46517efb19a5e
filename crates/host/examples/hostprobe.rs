//! Prints what the clients of this crate see on the machine it runs on.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use cofferdam_core::name::HostPath;
use cofferdam_host::{cri, observe, systemd};
use std::path::Path;
use std::time::{Duration, Instant};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args[0].as_str() {
        "cri" => {
            let cri = cri::Cri::connect(Path::new(&args[1])).unwrap();
            println!(
                "{:?}\n{:#?}\n{:#?}",
                cri.version().unwrap(),
                cri.status().unwrap(),
                cri.sandboxes().unwrap()
            );
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
        "run" => {
            let cri = cri::Cri::connect(Path::new(&args[1])).unwrap();
            let pod = cri::PodSpec {
                namespace: "default".into(),
                name: "p".into(),
                uid: args[2].clone(),
                cgroup_parent: String::new(),
            };
            let limit = Duration::from_secs(20);
            let id = cri.run_pod_sandbox(&pod, &args[2], limit).unwrap();
            let spec = cri::ContainerSpec { name: "c".into(), image: args[3].clone(), ..Default::default() };
            let c = cri.create_container(&id, &pod, &spec, limit).unwrap();
            cri.start_container(&c, limit).unwrap();
            println!("{:?}", cri.exec(&c, &["uname", "-r"], limit));
        }
        "observe" => {
            let started = Instant::now();
            let mut seen = observe::containerd(&observe::Options::default()).unwrap();
            println!("{:?} {:?}", started.elapsed(), observe::EnginePaths::of(&seen));
            seen.dump = seen.dump.map(|d| format!("{} bytes", d.len()));
            println!("{seen:#?}\n{:#?}", observe::target(&HostPath::new("/opt/cofferdam").unwrap()));
        }
        "uses" => {
            let trees: Vec<_> = args[1..].iter().map(|t| HostPath::new(t).unwrap()).collect();
            let started = Instant::now();
            println!(
                "{:#?} {:?}",
                observe::uses(&[HostPath::new("/run/containerd").unwrap()], &trees),
                started.elapsed()
            );
        }
        "unit" => {
            for mut m in [systemd::Manager::connect().unwrap(), systemd::Manager::connect_private().unwrap()]
            {
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
                name: "hostprobe.service".into(),
                description: "test".into(),
                exec: args[1..].to_vec(),
                kind: systemd::Type::Simple,
                restart: systemd::Restart::OnAbnormal,
                restart_delay: Duration::from_millis(500),
                after: vec!["containerd.service".into()],
                runtime_limit: Some(Duration::from_secs(60)),
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
