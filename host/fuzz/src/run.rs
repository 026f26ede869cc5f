//! One target for some time.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::mutate::{Chance, mutate};
use crate::targets::Target;

/// No input may take longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The corpus of a run does not grow beyond this many inputs.
const MOST: usize = 4000;

/// What a run without a finding did.
#[derive(Debug)]
pub struct Report {
    /// How many inputs were read.
    pub inputs: u64,
    /// How many different outcomes they had.
    pub shapes: usize,
    /// How long it took.
    pub time: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inputs, shapes, time } = self;
        write!(f, "{inputs} inputs in {} s, {shapes} different outcomes", time.as_secs())
    }
}

/// An input that was not read as it must be.
#[derive(Debug)]
pub struct Finding {
    /// What happened.
    pub why: String,
    /// Where the input was written.
    pub file: PathBuf,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FINDING: {}; the input is {}", self.why, self.file.display())
    }
}

/// Runs a target with every input of its corpus, then with changed ones for as long as `time`.
///
/// # Errors
/// The first finding; its input is in the temporary directory.
pub fn run(target: &Target, time: Duration) -> Result<Report, Finding> {
    let began = Instant::now();
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let seed = u64::try_from(seed % u128::from(u64::MAX)).unwrap_or(1);
    println!("{}: seed {seed}", target.name);
    let mut chance = Chance::new(seed);
    let mut corpus: Vec<Vec<u8>> = (target.seeds)();
    corpus.extend(kept(target.name));
    let watch = Watch::start(target.name);
    let (mut shapes, mut inputs) = (HashSet::new(), 0);
    for input in &corpus {
        shapes.insert(watch.once(target, input)?);
        inputs += 1;
    }
    while began.elapsed() < time {
        let mut input = corpus[chance.below(corpus.len())].clone();
        let other = &corpus[chance.below(corpus.len())];
        mutate(&mut input, other, target.words, &mut chance);
        if chance.below(4) > 0 {
            (target.repair)(&mut input);
        }
        let shape = watch.once(target, &input)?;
        inputs += 1;
        // A text that repeats its input is another one each time.
        if shapes.len() < 10 * MOST && shapes.insert(shape) && corpus.len() < MOST {
            corpus.push(input);
        }
    }
    Ok(Report { inputs, shapes: shapes.len(), time: began.elapsed() })
}

/// The inputs that are kept in the repository, findings of the past among them.
fn kept(name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut paths: Vec<_> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    paths.iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

/// Sees that no input takes for ever.
struct Watch {
    current: Arc<Mutex<(Instant, Vec<u8>)>>,
    count: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Watch {
    fn start(name: &'static str) -> Self {
        let watch = Self {
            current: Arc::new(Mutex::new((Instant::now(), Vec::new()))),
            count: Arc::default(),
            over: Arc::default(),
        };
        let (current, count, over) =
            (Arc::clone(&watch.current), Arc::clone(&watch.count), Arc::clone(&watch.over));
        std::thread::spawn(move || {
            let mut last = (0, Instant::now());
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(200));
                let now = count.load(Ordering::Relaxed);
                if now != last.0 || now == 0 {
                    last = (now, Instant::now());
                } else if last.1.elapsed() > PATIENCE {
                    let input = current.lock().unwrap_or_else(PoisonError::into_inner).1.clone();
                    println!("{name}: {}", finding(name, "it takes for ever".to_owned(), &input));
                    std::process::abort();
                }
            }
        });
        watch
    }

    fn once(&self, target: &Target, input: &[u8]) -> Result<String, Finding> {
        {
            let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            current.1.clear();
            current.1.extend_from_slice(input);
        }
        let outcome = std::panic::catch_unwind(|| (target.read)(input));
        self.count.fetch_add(1, Ordering::Relaxed);
        outcome
            .map(|shape| shape.chars().filter(|character| !character.is_numeric()).take(120).collect())
            .map_err(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                finding(target.name, text.unwrap_or_else(|| "it panics".to_owned()), input)
            })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn finding(name: &str, why: String, input: &[u8]) -> Finding {
    let file = std::env::temp_dir().join(format!("wbuild-fuzz-{name}-{}", std::process::id()));
    match std::fs::write(&file, input) {
        Ok(()) => Finding { why, file },
        Err(error) => Finding { why: format!("{why} (and {error}): {input:?}"), file },
    }
}
