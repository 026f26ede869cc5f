//! `cargo xtask bench transfer`: moving, unpacking and committing layers, beside skopeo, buildah, umoci and tar.
//!
//! Everything runs as root on this machine, measured by the same program, against a registry on loopback. A push goes to a
//! registry that is empty and has its own port, so that no client finds there, or remembers to have left there, what another run
//! sent. Compression is gzip of level 6 wherever a case includes it. What a case prepares is not measured; what the run before left to be written is
//! written before the next one begins.

use super::Rounds;
use super::sample::{self, Sample, Series};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use wbuild_tests::command::{self, command};
use wbuild_tests::registry::Registry;
use wbuild_tests::session::{Caller, Session};
use wbuild_tests::workspace::Scratch;
use wbuild_tests::{base, guest};

const GIB: u64 = 1 << 30;

/// Runs every case that is asked for.
pub(super) fn run(rounds: &Rounds) -> Result<()> {
    let bench = Bench { rounds, measure: guest::program("measure")? };
    bench.transfers()?;
    bench.compressed()?;
    bench.unpack()?;
    bench.commit()
}

struct Bench<'a> {
    rounds: &'a Rounds,
    measure: PathBuf,
}

type Contestant<'a> = (&'static str, Box<dyn Fn() -> Result<Sample> + 'a>);

impl Bench<'_> {
    /// Runs the contestants in turn, as many rounds as there are, and prints the table.
    fn alternate(&self, case: &str, contestants: &[Contestant<'_>]) -> Result<()> {
        let runs = |name: &str| self.rounds.runs(name);
        let contestants: Vec<_> = contestants.iter().filter(|(name, _)| runs(name)).collect();
        let mut all: Vec<_> = contestants.iter().map(|(name, _)| Series::new(name)).collect();
        for _ in 0..self.rounds.rounds {
            for ((name, run), series) in contestants.iter().zip(&mut all) {
                command::output("sync", [""; 0])?;
                let sample = run().with_context(|| format!("{case}: {name}"))?;
                eprintln!("{case}: {name}: {sample:?}");
                series.samples.push(sample);
            }
        }
        sample::print(case, &all);
        Ok(())
    }

    fn measured(&self, command: &Command) -> Result<Sample> {
        let mut measured = Command::new(&self.measure);
        measured.arg(command.get_program()).args(command.get_args()).stdin(std::process::Stdio::null());
        measured.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
        measured.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Sample::of(command::run(measured)?)
    }

    fn wbuild(&self, session: &Session, arguments: &[&str]) -> Result<Sample> {
        self.measured(&session.command(arguments)?)
    }

    /// A layer of 1 GiB of random bytes, as it is, into an empty registry and out of a full one.
    fn transfers(&self) -> Result<()> {
        let (push, pull) = ("push of a 1 GiB layer from a layout", "pull of a 1 GiB layer");
        if !self.rounds.selects(push) && !self.rounds.selects(pull) {
            return Ok(());
        }
        let made = Scratch::new("gibibyte")?;
        let layout = random_image(made.path())?;
        let source = format!("oci-layout://{layout}:latest");
        if self.rounds.selects(push) {
            let contestants: [Contestant<'_>; 2] = [
                (
                    "wbuild push",
                    Box::new(|| {
                        let (registry, session) = (Registry::start()?, Session::new(Caller::Root)?);
                        self.wbuild(&session, &["push", "-q", &source, &registry.reference("random:1")])
                    }),
                ),
                (
                    "skopeo copy",
                    Box::new(|| {
                        let registry = Registry::start()?;
                        let mut copy = command("skopeo", ["copy", "-q", "--dest-tls-verify=false"]);
                        copy.arg(format!("oci:{layout}:latest"));
                        copy.arg(format!("docker://{}", registry.reference("random:1")));
                        self.measured(&copy)
                    }),
                ),
            ];
            self.alternate(push, &contestants)?;
        }
        if self.rounds.selects(pull) {
            let registry = Registry::start()?;
            registry.seed(Path::new(&layout), "latest", "random:1")?;
            let name = registry.reference("random:1");
            let contestants: [Contestant<'_>; 3] = [
                (
                    "wbuild pull, into its store",
                    Box::new(|| self.wbuild(&Session::new(Caller::Root)?, &["pull", "-q", &name])),
                ),
                (
                    "skopeo copy, into a layout",
                    Box::new(|| {
                        let into = Scratch::new("skopeo")?;
                        let mut copy = command("skopeo", ["copy", "-q", "--src-tls-verify=false"]);
                        copy.arg(format!("docker://{name}"));
                        copy.arg(format!("oci:{}:latest", into.path().join("layout").display()));
                        self.measured(&copy)
                    }),
                ),
                (
                    "buildah pull, which also unpacks",
                    Box::new(|| {
                        let storage = Storage::new()?;
                        self.measured(&storage.buildah(&["pull", "-q", "--tls-verify=false", &name]))
                    }),
                ),
            ];
            self.alternate(pull, &contestants)?;
        }
        Ok(())
    }

    /// From 1 GiB of a distribution's files to the compressed layer in an empty registry.
    fn compressed(&self) -> Result<()> {
        let case = "1 GiB of Debian's files: COPY, gzip 6, push";
        if !self.rounds.selects(case) {
            return Ok(());
        }
        let made = Scratch::new("compressed")?;
        let debian = base::debian()?.rootfs.context("Debian's tree")?;
        let mut tar = command("tar", ["-C"]);
        tar.arg(&debian).arg("-cf").arg(made.path().join("once")).arg(".");
        command::run(tar)?.success()?;
        // The window of gzip is far smaller than one copy, so copies compress as new content does.
        let once = fs::read(made.path().join("once"))?;
        fs::remove_file(made.path().join("once"))?;
        let mut file = fs::File::create(made.path().join("content"))?;
        let mut left = usize::try_from(GIB)?;
        while left > 0 {
            let part = &once[..once.len().min(left)];
            file.write_all(part)?;
            left -= part.len();
        }
        drop((once, file));
        fs::write(made.path().join("Dockerfile"), "FROM scratch\nCOPY content /content\n")?;
        let context = text(made.path())?;
        let contestants: [Contestant<'_>; 2] = [
            (
                "wbuild build --push",
                Box::new(|| {
                    let (registry, session) = (Registry::start()?, Session::new(Caller::Root)?);
                    let target = registry.reference("content:1");
                    let flags = ["build", "-q", "--compression=gzip:6", "--push", "-t", &target, &context];
                    self.wbuild(&session, &flags)
                }),
            ),
            (
                "buildah build, buildah push",
                Box::new(|| {
                    let (registry, storage) = (Registry::start()?, Storage::new()?);
                    let target = registry.reference("content:1");
                    let script = "set -e; d=$1; b=\"buildah --storage-driver overlay --root $d/root --runroot $d/run\"; \
                        $b build -q --isolation oci --runtime runc -t $2 $3; $b push -q --tls-verify=false $2 docker://$2";
                    let mut both = command("sh", ["-c", script, "sh"]);
                    both.arg(storage.dir.path()).arg(&target).arg(&context);
                    self.measured(&both)
                }),
            ),
        ];
        self.alternate(case, &contestants)
    }

    /// Debian's layer into a directory; wbuild does it for a step that does nothing else.
    fn unpack(&self) -> Result<()> {
        let case = "unpack of a Debian base";
        if !self.rounds.selects(case) {
            return Ok(());
        }
        let debian = base::debian()?;
        let project = Scratch::new("unpack")?;
        fs::write(project.path().join("Dockerfile"), "FROM base\nRUN [\"/bin/true\"]\n")?;
        let (context, layout) = (text(project.path())?, text(&debian.layout)?);
        let given = format!("base=oci-layout://{layout}:{}", debian.tag);
        let session = Session::new(Caller::Root)?;
        let build = ["build", "-q", "--no-cache", "--build-context", &given, &context];
        // The others have the layer on disk, too.
        session.succeed(&build)?;
        let layer = largest(&debian.layout.join("blobs/sha256"))?;
        let contestants: [Contestant<'_>; 3] = [
            ("wbuild build, with a step and its commit", Box::new(|| self.wbuild(&session, &build))),
            (
                "umoci unpack",
                Box::new(|| {
                    let into = Scratch::new("umoci")?;
                    let mut unpack = command("umoci", ["unpack", "--image"]);
                    unpack.arg(format!("{layout}:{}", debian.tag)).arg(into.path().join("bundle"));
                    self.measured(&unpack)
                }),
            ),
            (
                "tar -x",
                Box::new(|| {
                    let into = Scratch::new("tar")?;
                    let mut tar = command("tar", ["--numeric-owner", "-xpzf"]);
                    tar.arg(&layer).arg("-C").arg(into.path());
                    self.measured(&tar)
                }),
            ),
        ];
        self.alternate(case, &contestants)
    }

    /// From the end of a step that appended to 10,000 of 100,000 files to its compressed layer on disk.
    fn commit(&self) -> Result<()> {
        let case = "commit of 10,000 changed of 100,000 files, gzip 6";
        if !self.rounds.selects(case) {
            return Ok(());
        }
        let made = Scratch::new("many")?;
        let layout = many_files(made.path())?;
        let context = made.path().join("context");
        fs::create_dir(&context)?;
        let step = CHANGES.replace("PREFIX", "/");
        fs::write(context.join("Dockerfile"), format!("FROM base\nRUN {step}; echo ended\n"))?;
        let (context, given) = (text(&context)?, format!("base=oci-layout://{layout}:latest"));
        let session = Session::new(Caller::Root)?;
        let build = [
            "build",
            "--progress=rawjson",
            "--no-cache",
            "--compression=gzip:6",
            "--build-context",
            &given,
            &context,
        ];
        let storage = Storage::new()?;
        // Buildah makes a name of the path, and refuses the capitals of a scratch directory in it.
        let mut pull = storage.buildah(&["pull", "-q", "oci:layout:latest"]);
        pull.current_dir(made.path());
        command::run(pull)?.success()?;
        let image = command::run(storage.buildah(&["images", "-q"]))?.success()?.stdout;
        let committed = |to: &str| {
            let from = storage.buildah(&["from", "--pull-never", image.trim()]);
            let container = command::run(from)?.success()?.stdout;
            let mount = command::run(storage.buildah(&["mount", container.trim()]))?.success()?;
            let step = CHANGES.replace("PREFIX", &format!("{}/", mount.stdout.trim()));
            command::run(command("busybox", ["sh", "-c", &step]))?.success()?;
            command::output("sync", [""; 0])?;
            let sample = self.measured(&storage.buildah(&["commit", "-q", container.trim(), to]))?;
            command::run(storage.buildah(&["rm", container.trim()]))?.success()?;
            Ok(sample)
        };
        let contestants: [Contestant<'_>; 3] = [
            (
                "wbuild, from the step's last output to its end",
                Box::new(|| {
                    let outcome = command::run(session.command(&build)?)?.success()?;
                    Ok(Sample::wall(after_last_output(&outcome.stderr)?))
                }),
            ),
            (
                "buildah commit, into a layout, with the base's layer",
                Box::new(|| {
                    let into = Scratch::new("committed")?;
                    committed(&format!("oci:{}:1", into.path().join("layout").display()))
                }),
            ),
            (
                "buildah commit, into its storage, not compressed",
                Box::new(|| committed("localhost/committed:1")),
            ),
        ];
        self.alternate(case, &contestants)
    }
}

/// Appends to ten files of each of the thousand directories.
const CHANGES: &str = "i=0; while [ $i -lt 1000 ]; do for f in 03 13 23 33 43 53 63 73 83 93; do \
    echo changed >> PREFIXfiles/d$i/f$f; done; i=$((i+1)); done";

/// Buildah's storage of its own, gone with this value.
struct Storage {
    dir: Scratch,
}

impl Storage {
    fn new() -> Result<Self> {
        Ok(Self { dir: Scratch::new("buildah")? })
    }

    fn buildah(&self, arguments: &[&str]) -> Command {
        let mut buildah = command("buildah", ["--storage-driver", "overlay", "--root"]);
        buildah.arg(self.dir.path().join("root")).arg("--runroot").arg(self.dir.path().join("run"));
        buildah.args(arguments);
        buildah
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        // What is still mounted cannot be removed; the directory is only scratch.
        let _ = command::run(self.buildah(&["umount", "--all"]));
    }
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("not UTF-8: {}", path.display()))
}

/// The largest file of a directory.
fn largest(dir: &Path) -> Result<PathBuf> {
    let mut found = (0, None);
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let size = entry.metadata()?.len();
        if size >= found.0 {
            found = (size, Some(entry.path()));
        }
    }
    found.1.with_context(|| format!("{} is empty", dir.display()))
}

/// Builds a context into the layout beside it, tagged `latest`.
fn layout_of(dir: &Path, context: &Path) -> Result<String> {
    let layout = text(&dir.join("layout"))?;
    let output = format!("type=oci,tar=false,dest={layout}");
    let session = Session::new(Caller::Root)?;
    session.succeed(&["build", "-q", "-t", "made:latest", "-o", &output, &text(context)?])?;
    fs::remove_dir_all(context)?;
    Ok(layout)
}

/// An image of one layer of 1 GiB that does not compress.
fn random_image(dir: &Path) -> Result<String> {
    let context = dir.join("random");
    fs::create_dir(&context)?;
    fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY random /random\n")?;
    let mut random = std::io::Read::take(fs::File::open("/dev/urandom")?, GIB);
    std::io::copy(&mut random, &mut fs::File::create(context.join("random"))?)?;
    let layout = layout_of(dir, &context)?;
    let size = fs::metadata(largest(&Path::new(&layout).join("blobs/sha256"))?)?.len();
    ensure!(size >= GIB, "the layer is to have 1 GiB, and has {size} bytes");
    Ok(layout)
}

/// An image of 100,000 files in a thousand directories, and a shell.
fn many_files(dir: &Path) -> Result<String> {
    let context = dir.join("many");
    fs::create_dir(&context)?;
    fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY busybox /bin/sh\nCOPY files /files\n")?;
    fs::copy("/bin/busybox", context.join("busybox"))?;
    for number in 0..100_000 {
        let dir = context.join(format!("files/d{}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&dir)?;
        }
        let content = format!("file {number} of the tree\n").repeat(1 + number % 90);
        fs::write(dir.join(format!("f{:02}", number % 100)), content)?;
    }
    layout_of(dir, &context)
}

/// Microseconds from the line `ended` of a step to the end of that step, by the events of `--progress=rawjson`.
fn after_last_output(events: &str) -> Result<u64> {
    let (mut ended, mut step) = (None, None);
    for line in events.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()) {
        // "ended\n" in base64.
        let log = line["logs"].as_array().and_then(|logs| logs.iter().find(|log| log["data"] == "ZW5kZWQK"));
        if let Some(log) = log {
            ended = log["timestamp"].as_str().map(micros_of_day).transpose()?;
            step = log["vertex"].as_str().map(str::to_owned);
        }
        let vertex = line["vertexes"].as_array().and_then(|all| all.first()).cloned().unwrap_or_default();
        if let (Some(ended), Some(completed)) = (ended, vertex["completed"].as_str())
            && vertex["digest"].as_str() == step.as_deref()
        {
            const DAY: u64 = 86_400_000_000;
            return Ok((micros_of_day(completed)? + DAY - ended) % DAY);
        }
    }
    anyhow::bail!("the step's end is not among the events:\n{events}")
}

/// The time of day of `2026-11-23T12:34:56.789Z`.
fn micros_of_day(time: &str) -> Result<u64> {
    let parse = || -> Option<u64> {
        let (_, clock) = time.strip_suffix('Z')?.split_once('T')?;
        let mut parts = clock.split(':');
        let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
        let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
        let whole = hours.parse::<u64>().ok()? * 3600
            + minutes.parse::<u64>().ok()? * 60
            + seconds.parse::<u64>().ok()?;
        Some(whole * 1_000_000 + format!("{fraction:0<6}")[..6].parse::<u64>().ok()?)
    };
    parse().with_context(|| format!("no time: {time}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_lasts_from_the_last_line_to_the_end_of_its_own_step() {
        let events = concat!(
            r#"{"logs":[{"vertex":"b","stream":1,"data":"ZW5kZWQK","timestamp":"2026-11-23T23:59:59.75Z"}]}"#,
            "\n",
            r#"{"vertexes":[{"digest":"a","completed":"2026-11-23T23:59:59.8Z"}]}"#,
            "\n",
            r#"{"vertexes":[{"digest":"b","completed":"2026-11-24T00:00:00.000001Z"}]}"#,
        );
        assert_eq!(after_last_output(events).unwrap(), 250_001);
        after_last_output("{}").unwrap_err();
    }
}
