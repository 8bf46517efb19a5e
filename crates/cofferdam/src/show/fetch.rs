//! A package on its way here: on a terminal a bar for the layer that comes and one for all of them, elsewhere lines; in
//! the end one line about all of it.

use cofferdam_host::event::{self, LayerTransfer, Transfer};
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How often it is told where nobody watches a bar, and how long a layer must take to have a line of its own.
const TELL_EVERY: Duration = Duration::from_secs(5);
const A_WHILE: Duration = Duration::from_secs(2);

/// A package on its way here.
pub(super) struct Fetching {
    begun: Instant,
    account: Account,
    /// None: nobody watches.
    bars: Option<Bars>,
}

impl Fetching {
    pub(super) fn begin() -> Self {
        let bars = std::io::stderr().is_terminal().then(Bars::new);
        Self { begun: Instant::now(), account: Account::default(), bars }
    }

    /// So much is here now. Returns a line about it, if one is due.
    pub(super) fn reach(&mut self, transfer: &Transfer) -> Option<String> {
        let line = self.account.reach(transfer, self.begun.elapsed());
        match &mut self.bars {
            None => line,
            Some(bars) => {
                bars.show(transfer);
                None
            }
        }
    }

    /// No more will come. Returns the line about all of it.
    pub(super) fn end(self, verbose: bool) -> Option<String> {
        if let Some(bars) = &self.bars {
            bars.clear();
        }
        self.account.end(self.begun.elapsed(), verbose)
    }
}

/// What came, and when; all times are since it began.
#[derive(Default)]
struct Account {
    last: Option<Transfer>,
    layers: usize,
    held: usize,
    held_bytes: u64,
    /// When the layer that comes now began.
    layer_begun: Duration,
    /// When a line was printed last.
    told: Duration,
}

impl Account {
    fn reach(&mut self, transfer: &Transfer, now: Duration) -> Option<String> {
        self.last = Some(*transfer);
        if let Some(layer) = transfer.layer.filter(LayerTransfer::is_over) {
            let took = now.saturating_sub(self.layer_begun);
            self.layer_begun = now;
            if layer.held {
                self.held += 1;
                self.held_bytes += layer.size;
                return None;
            }
            self.layers += 1;
            if took >= A_WHILE {
                self.told = now;
                let LayerTransfer { index, of, size, .. } = layer;
                let (size, took, rate) = (HumanBytes(size), time(took), rate(size, took));
                return Some(format!("  layer {index} of {of}: {size} in {took}{rate}"));
            }
        }
        if now.saturating_sub(self.told) < TELL_EVERY {
            return None;
        }
        self.told = now;
        let Transfer { bytes, total, layer, .. } = *transfer;
        let mut line = format!("  fetching: {} of {}", HumanBytes(bytes), HumanBytes(total));
        if let Some(LayerTransfer { index, of, .. }) = layer.filter(|layer| layer.of > 1) {
            line.push_str(&format!(" (layer {index} of {of})"));
        }
        line.push_str(&rate(bytes, now));
        if let Some(left) = event::left(bytes, total, now) {
            line.push_str(&format!(", {} left", time(left)));
        }
        Some(line)
    }

    fn end(&self, took: Duration, verbose: bool) -> Option<String> {
        let Transfer { bytes, total, layer, .. } = self.last?;
        let of = layer.map_or(0, |layer| layer.of);
        let is_whole = match layer {
            Some(_) => self.layers + self.held == of,
            None => bytes >= total,
        };
        let layers = match self.layers {
            1 => "1 layer".to_owned(),
            many => format!("{many} layers"),
        };
        let all = HumanBytes(total + self.held_bytes);
        let mut line = match (layer, self.held) {
            _ if !is_whole => {
                return Some(format!(
                    "  fetched {} of {}, not all of it",
                    HumanBytes(bytes),
                    HumanBytes(total)
                ));
            }
            (None, _) => format!("  fetched {}", HumanBytes(bytes)),
            (Some(_), 0) => format!("  fetched {} in {layers}", HumanBytes(bytes)),
            (Some(_), held) if held == of => format!("  fetched nothing: all {all} were here"),
            (Some(_), _) => {
                format!("  fetched {} of {all} in {layers}, the others were here", HumanBytes(bytes))
            }
        };
        line.push_str(&rate(bytes, took));
        if verbose {
            line.push_str(&format!(", in {} ms", took.as_millis()));
        }
        Some(line)
    }
}

/// `, 25.00 MiB/s`, or nothing if it was too short to tell.
fn rate(bytes: u64, took: Duration) -> String {
    event::rate(bytes, took).map_or_else(String::new, |rate| format!(", {}/s", HumanBytes(rate)))
}

fn time(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// One bar for the present layer and one for all.
struct Bars {
    all: MultiProgress,
    layer: ProgressBar,
    total: ProgressBar,
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let layer = all.add(ProgressBar::new(0).with_style(style("{bytes}/{total_bytes}")));
        let total = style("{bytes}/{total_bytes} {bytes_per_sec} {eta}");
        let total = all.add(ProgressBar::new(0).with_style(total).with_prefix("fetching"));
        Self { all, layer, total }
    }

    fn show(&self, transfer: &Transfer) {
        if let Some(LayerTransfer { index, of, bytes, size, held: false, .. }) = transfer.layer
            && of > 1
        {
            self.layer.set_prefix(format!("layer {index}/{of}"));
            self.layer.set_length(size);
            self.layer.set_position(bytes);
        }
        self.total.set_length(transfer.total);
        self.total.set_position(transfer.bytes);
    }

    fn clear(&self) {
        self.layer.finish_and_clear();
        self.total.finish_and_clear();
        // A terminal that cannot be written to shows nothing anyway.
        let _ = self.all.clear();
    }
}

fn style(numbers: &str) -> ProgressStyle {
    ProgressStyle::with_template(&format!("  {{prefix:13}} [{{bar:32}}] {numbers}"))
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_core::name::Digest;

    const MIB: u64 = 1 << 20;

    /// An image whose layers come one after the other, with the lines about it.
    #[derive(Default)]
    struct Image {
        account: Account,
        sizes: Vec<u64>,
        bytes: u64,
        total: u64,
        now: Duration,
        lines: Vec<String>,
    }

    impl Image {
        fn new(sizes: &[u64], total: u64) -> Self {
            Self { sizes: sizes.to_vec(), total, ..Self::default() }
        }

        /// `bytes` of the layer `index` are here after so many milliseconds more.
        fn at(&mut self, index: usize, bytes: u64, millis: u64) {
            self.now += Duration::from_millis(millis);
            let layer = LayerTransfer {
                index,
                of: self.sizes.len(),
                digest: Digest::of(&[]),
                bytes,
                size: self.sizes[index - 1],
                held: false,
            };
            self.tell(layer, self.bytes + bytes);
            if bytes == layer.size {
                self.bytes += bytes;
            }
        }

        fn held(&mut self, index: usize) {
            let (of, size) = (self.sizes.len(), self.sizes[index - 1]);
            let layer = LayerTransfer { index, of, digest: Digest::of(&[]), bytes: 0, size, held: true };
            self.tell(layer, self.bytes);
        }

        fn tell(&mut self, layer: LayerTransfer, bytes: u64) {
            let transfer = Transfer { layer: Some(layer), ..Transfer::whole(bytes, self.total) };
            self.lines.extend(self.account.reach(&transfer, self.now));
        }

        fn end(&self) -> String {
            self.account.end(self.now, false).unwrap()
        }
    }

    #[test]
    fn many_small_layers_are_one_line() {
        let mut image = Image::new(&[MIB; 100], 100 * MIB);
        for index in 1..=100 {
            image.at(index, MIB, 5);
        }
        assert!(image.lines.is_empty(), "{:?}", image.lines);
        assert_eq!(image.end(), "  fetched 100.00 MiB in 100 layers");
    }

    #[test]
    fn a_layer_that_takes_a_while_has_a_line_and_so_has_every_five_seconds() {
        let mut image = Image::new(&[MIB, 40 * MIB, MIB], 42 * MIB);
        image.at(1, MIB, 1000);
        for second in 1..=8 {
            image.at(2, second * 5 * MIB, 1000);
        }
        image.at(3, MIB, 1000);
        let expected = [
            "  fetching: 21.00 MiB of 42.00 MiB (layer 2 of 3), 4.20 MiB/s, 5 s left",
            "  layer 2 of 3: 40.00 MiB in 8 s, 5.00 MiB/s",
        ];
        assert_eq!(image.lines, expected);
        assert_eq!(image.end(), "  fetched 42.00 MiB in 3 layers, 4.20 MiB/s");
    }

    #[test]
    fn what_is_here_is_told_of_in_the_end() {
        let mut image = Image::new(&[MIB, 2 * MIB, 5 * MIB], 2 * MIB);
        image.held(1);
        image.at(2, 2 * MIB, 10);
        assert_eq!(image.end(), "  fetched 2.00 MiB of 2.00 MiB, not all of it");
        image.held(3);
        assert_eq!(image.end(), "  fetched 2.00 MiB of 8.00 MiB in 1 layer, the others were here");
        assert!(image.lines.is_empty());

        let mut image = Image::new(&[MIB, 2 * MIB], 0);
        image.held(1);
        image.held(2);
        assert_eq!(image.end(), "  fetched nothing: all 3.00 MiB were here");
    }

    #[test]
    fn an_archive_has_no_layers() {
        let mut account = Account::default();
        let seconds = Duration::from_secs;
        assert_eq!(account.reach(&Transfer::whole(MIB, 4 * MIB), seconds(1)), None);
        let line = account.reach(&Transfer::whole(2 * MIB, 4 * MIB), seconds(400));
        assert_eq!(line.unwrap(), "  fetching: 2.00 MiB of 4.00 MiB, 5.12 KiB/s, 6 min left");
        account.reach(&Transfer::whole(4 * MIB, 4 * MIB), seconds(402));
        assert_eq!(account.end(seconds(402), true).unwrap(), "  fetched 4.00 MiB, 10.19 KiB/s, in 402000 ms");
    }
}
