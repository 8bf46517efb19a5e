//! Generated inputs for tests, the same for the same seed: containerd configurations in every style that people,
//! distributions and tools write. Only with the feature `testing`.

pub mod peers;

use crate::engine::containerd::{ConfigVersion, Tables};

/// A generated configuration, which every containerd that knows its version accepts (2.x refuses a byte order mark).
#[derive(Clone, Debug)]
pub struct GeneratedConfig {
    /// The seed it was made from.
    pub seed: u64,
    /// Its version. None: it has neither a version nor plugins.
    pub version: Option<ConfigVersion>,
    /// Whether it begins with a byte order mark.
    pub bom: bool,
    /// The file's content.
    pub text: String,
}

/// A comment in every generated configuration; a foreign edit can replace it.
pub const TUNE: &str = "# tune me";

/// Random numbers that depend on nothing but the seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers for `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % (bound.max(1) as u64)).unwrap_or_default()
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of `items`, which must not be empty.
    pub fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> Option<&'a T> {
        let at = self.below(items.len());
        items.get(at).copied()
    }
}

/// The configuration for `seed`.
pub fn containerd_config(seed: u64) -> GeneratedConfig {
    let mut random = Random::new(seed);
    let version = match random.below(12) {
        0 => Some(ConfigVersion::V1),
        1..=4 => Some(ConfigVersion::V2),
        5..=8 => Some(ConfigVersion::V3),
        9 | 10 => Some(ConfigVersion::V4),
        _ => None,
    };
    let old = matches!(version, Some(ConfigVersion::V1 | ConfigVersion::V2));
    let bom = old && random.once_in(6);
    let quote = if random.once_in(2) { '"' } else { '\'' };
    let mut writer = Writer { random, quote, lines: Vec::new() };
    writer.document(version);
    GeneratedConfig { seed, version, bom, text: writer.finish(bom) }
}

struct Writer {
    random: Random,
    quote: char,
    /// Depth and text of each line.
    lines: Vec<(usize, String)>,
}

impl Writer {
    fn line(&mut self, depth: usize, text: impl Into<String>) {
        self.lines.push((depth, text.into()));
    }

    fn text(&self, text: &str) -> String {
        format!("{0}{text}{0}", self.quote)
    }

    fn pair(&mut self, depth: usize, key: &str, value: &str) {
        let value = self.text(value);
        self.line(depth, format!("{key} = {value}"));
    }

    fn header(&mut self, depth: usize, path: &[&str]) {
        let dot = if self.random.once_in(12) { " . " } else { "." };
        let pad = if self.random.once_in(12) { " " } else { "" };
        let shown: Vec<String> = path
            .iter()
            .map(|part| if part.contains('.') { self.text(part) } else { (*part).to_owned() })
            .collect();
        self.line(depth, format!("[{pad}{}{pad}]", shown.join(dot)));
    }

    fn document(&mut self, version: Option<ConfigVersion>) {
        if self.random.once_in(3) {
            self.line(0, "# Managed by hand: see the wiki");
        }
        let first = version == Some(ConfigVersion::V1);
        let number = version.map(i64::from).filter(|_| !first || self.random.once_in(3));
        let version_first = self.random.once_in(2);
        if let Some(number) = number.filter(|_| version_first) {
            self.line(0, format!("version = {number}"));
        }
        for (key, value) in [("root", "/var/lib/containerd"), ("state", "/run/containerd")] {
            if self.random.once_in(2) {
                self.pair(0, key, value);
            }
        }
        self.line(0, TUNE);
        self.imports();
        if self.random.once_in(3) {
            self.line(0, "oom_score = -999");
        }
        if version.is_some() && self.random.once_in(3) {
            let list = if self.random.once_in(2) {
                String::new()
            } else {
                self.text(if first { "zfs" } else { "io.containerd.snapshotter.v1.zfs" })
            };
            self.line(0, format!("disabled_plugins = [{list}]"));
        }
        if let Some(number) = number.filter(|_| !version_first) {
            self.line(0, format!("version = {number}"));
        }
        let Some(version) = version else {
            self.others(None);
            return;
        };
        let tables = match version {
            ConfigVersion::V1 => Tables::Cri,
            ConfigVersion::V2 => Tables::Grpc,
            ConfigVersion::V3 | ConfigVersion::V4 => Tables::Runtime,
        };
        // Without plugins it would be of no version.
        let style = self.random.below(15).max(if first { 2 } else { 0 });
        if style == 0 {
            self.dotted_at_root(tables);
        }
        if self.random.once_in(2) {
            self.others(Some(version));
            self.cri(tables, style);
        } else {
            self.cri(tables, style);
            self.others(Some(version));
        }
    }

    fn imports(&mut self) {
        let (a, b) = (self.text("/etc/nowhere/conf.d/*.conf"), self.text("extra.d/a*.toml"));
        match self.random.below(9) {
            0 => self.line(0, "imports = []"),
            1 => self.line(0, "imports = [ ]  # none yet"),
            2 => self.line(0, format!("imports = [{a}]")),
            3 => self.line(0, format!("imports = [ {a} , {b}, ]")),
            4 => {
                self.line(0, "imports = [ # ours, \"theirs\"");
                self.line(1, format!("{a}, # first, of two"));
                self.line(1, format!("{b} # last"));
                self.line(0, "]");
            }
            5 => {
                self.line(0, "imports = [");
                self.line(2, format!("{a},"));
                self.line(0, "]");
            }
            6 => {
                let covering = self.text("/etc/nowhere/drop-ins/*.toml");
                self.line(0, format!("imports = [{covering}]"));
            }
            _ => {}
        }
    }

    /// Tables that are not CRI's.
    fn others(&mut self, version: Option<ConfigVersion>) {
        let servers = version != Some(ConfigVersion::V4);
        if servers && self.random.once_in(2) {
            self.header(0, &["grpc"]);
            self.line(1, "uid = 0 # root");
            self.line(1, "max_recv_message_size = 16_777_216");
        }
        if self.random.once_in(3) {
            self.header(0, &["timeouts"]);
            let key = self.text("io.containerd.timeout.shim.load");
            self.pair(1, &key, "5s");
        }
        if version.is_some() && self.random.once_in(2) {
            let first = version == Some(ConfigVersion::V1);
            self.header(0, &["plugins", if first { "scheduler" } else { "io.containerd.gc.v1.scheduler" }]);
            self.line(1, "deletion_threshold = 0");
            self.pair(1, "schedule_delay", "0s");
        }
        if self.random.once_in(4) {
            self.header(0, &["proxy_plugins", "stargz"]);
            self.pair(1, "type", "snapshot");
            self.pair(1, "address", "/run/stargz/stargz.sock");
        }
    }

    fn image(&mut self, depth: usize, tables: Tables) {
        if tables != Tables::Runtime && self.random.once_in(2) {
            self.pair(depth, "sandbox_image", "registry.example/pause:3.10");
        }
    }

    fn dotted_at_root(&mut self, tables: Tables) {
        let id = self.text(tables.plugin());
        let name = format!("plugins.{id}.containerd");
        self.pair(0, &format!("{name}.runtimes.runc.runtime_type"), "io.containerd.runc.v2");
        self.line(0, format!("{name}.runtimes.runc.options.SystemdCgroup = true"));
        if self.random.once_in(2) {
            self.pair(0, &format!("{name}.default_runtime_name"), "runc");
        }
    }

    fn cri(&mut self, tables: Tables, style: usize) {
        let id = tables.plugin();
        let runc = self.text("io.containerd.runc.v2");
        let quoted = self.text(id);
        match style {
            0 | 1 => {}
            2 => {
                self.header(0, &["plugins", id]);
                self.image(1, tables);
                self.line(1, format!("containerd.runtimes.runc.runtime_type = {runc}"));
                self.line(1, "containerd.runtimes.runc.options.SystemdCgroup = true");
                self.line(1, "containerd.runtimes.nvidia.privileged_without_host_devices = false");
                self.line(1, format!("containerd.runtimes.nvidia.runtime_type = {runc}"));
                self.line(1, "enable_selinux = false");
            }
            3 => {
                self.header(0, &["plugins", id]);
                let name = self.text("runc");
                self.line(1, format!("containerd.default_runtime_name = {name}"));
                self.image(1, tables);
            }
            4 => {
                self.header(0, &["plugins", id, "containerd"]);
                self.line(1, format!("runtimes = {{ runc = {{ runtime_type = {runc} }} }}"));
            }
            5 => {
                self.header(0, &["plugins"]);
                let table =
                    format!("{{ runc = {{runtime_type = {runc}, options = {{ SystemdCgroup = true }}}} }}");
                self.line(
                    1,
                    format!("{quoted} = {{ containerd = {{ runtimes = {table} }}, enable_selinux = false }}"),
                );
            }
            6 => {
                self.header(0, &["plugins", id]);
                let name = self.text("runc");
                self.line(1, format!("containerd = {{ default_runtime_name = {name} }} # inline"));
                self.image(1, tables);
            }
            7 => {
                self.header(0, &["plugins", id, "containerd", "runtimes"]);
                self.line(1, format!("runc.runtime_type = {runc}"));
                self.line(1, "runc.options.SystemdCgroup = true");
            }
            8 => {
                self.header(0, &["plugins", id, "containerd", "runtimes"]);
                self.line(
                    1,
                    format!(
                        "runc = {{ runtime_type = {runc}, options = {{ BinaryName = '/usr/bin/runc' }} }}"
                    ),
                );
            }
            9 => {
                self.header(0, &["plugins", id]);
                self.line(1, format!("containerd.runtimes = {{ runc = {{ runtime_type = {runc} }}}}"));
            }
            10 => {
                self.header(0, &["plugins", id, "containerd", "runtimes", "runc", "options"]);
                self.line(1, "SystemdCgroup = true");
                self.header(0, &["plugins", id, "containerd", "runtimes", "runc"]);
                self.line(1, format!("runtime_type = {runc}"));
                self.header(0, &["plugins", id]);
                self.image(1, tables);
            }
            _ => self.headers(tables, style.is_multiple_of(2)),
        }
        if tables == Tables::Runtime && self.random.once_in(2) && style != 0 && style != 5 {
            let images = "io.containerd.cri.v1.images";
            self.header(0, &["plugins", images, "pinned_images"]);
            self.pair(1, "sandbox", "registry.example/pause:3.10");
        }
    }

    /// The form of `containerd config default` and of distributions.
    fn headers(&mut self, tables: Tables, nested: bool) {
        let id = tables.plugin();
        let depth = |level: usize| if nested { level } else { 0 };
        if nested {
            self.header(0, &["plugins"]);
        }
        self.header(depth(1), &["plugins", id]);
        self.line(depth(2), "enable_selinux = false");
        self.image(depth(2), tables);
        self.header(depth(2), &["plugins", id, "containerd"]);
        self.pair(depth(3), "default_runtime_name", "runc");
        if self.random.once_in(2) {
            self.header(depth(3), &["plugins", id, "containerd", "runtimes"]);
        }
        for name in ["runc", "nvidia", "kata-qemu"] {
            if name != "runc" && self.random.once_in(2) {
                continue;
            }
            self.header(depth(4), &["plugins", id, "containerd", "runtimes", name]);
            self.pair(depth(5), "runtime_type", "io.containerd.runc.v2");
            if self.random.once_in(2) {
                self.line(depth(5), "pod_annotations = [");
                self.line(depth(6), "\"io.example.*\", # all of them");
                self.line(depth(5), "]");
            }
            if self.random.once_in(2) {
                self.header(depth(5), &["plugins", id, "containerd", "runtimes", name, "options"]);
                self.pair(depth(6), "BinaryName", "/usr/bin/runc");
                self.line(depth(6), "SystemdCgroup = true");
                if self.random.once_in(3) {
                    self.line(depth(6), "# Root = \"/run/elsewhere\"");
                }
            }
        }
        if self.random.once_in(2) {
            self.line(depth(2), "# where CNI lives");
            self.header(depth(2), &["plugins", id, "cni"]);
            self.pair(depth(3), "conf_dir", "/etc/cni/net.d");
        }
    }

    /// Indentation, blank lines, comments, white space at line ends, line ends, final newline.
    fn finish(mut self, bom: bool) -> String {
        let unit = self.random.pick(&["", "  ", "    ", "\t", " "]).unwrap_or_default();
        let odd = self.random.once_in(6);
        let eol = if self.random.once_in(3) { "\r\n" } else { "\n" };
        let dense = self.random.once_in(3);
        let final_newline = !self.random.once_in(3);
        let mut out = String::from(if bom { "\u{feff}" } else { "" });
        let lines = std::mem::take(&mut self.lines);
        let count = lines.len();
        for (index, (depth, text)) in lines.into_iter().enumerate() {
            let header = text.starts_with('[') && index > 0;
            if header && !dense && !self.random.once_in(5) {
                out.push_str(eol);
            }
            if header && self.random.once_in(6) {
                out.push_str(&format!("{}# about the next table{eol}", unit.repeat(depth)));
            }
            let depth = if odd { self.random.below(4) } else { depth };
            out.push_str(&unit.repeat(depth));
            out.push_str(&text);
            if self.random.once_in(12) && !text.contains('#') {
                out.push_str(" # [plugins] = \"x\", ]");
            }
            if self.random.once_in(10) {
                out.push_str("  ");
            }
            if index + 1 < count || final_newline {
                out.push_str(eol);
            }
        }
        if final_newline && self.random.once_in(5) {
            out.push_str(eol);
            out.push_str(eol);
        }
        out
    }
}
