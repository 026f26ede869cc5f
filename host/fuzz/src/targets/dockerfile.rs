//! A Dockerfile, from its text to the plan.

use std::collections::BTreeMap;

use wbuild_dockerfile::{IgnoreFile, parse};
use wbuild_oci::{ImageConfig, Platform};
use wbuild_plan::{EpochRule, Images, Request, RunNetwork, Stages, check, plan, sources};

use super::{Target, as_it_is};

pub(super) const TARGET: Target = Target { name: "dockerfile", seeds, words: WORDS, repair: as_it_is, read };

const WORDS: &[&[u8]] = &[
    b"FROM scratch\n",
    b"FROM a AS b\n",
    b"ARG X=1\n",
    b"ENV A=b c=\"d e\"\n",
    b"RUN ",
    b"COPY --from=b a b\n",
    b"ADD ",
    b"WORKDIR /x\n",
    b"USER 1:2\n",
    b"LABEL a=b\n",
    b"CMD [\"a\"]\n",
    b"ENTRYPOINT a\n",
    b"HEALTHCHECK --interval=1s CMD x\n",
    b"ONBUILD ",
    b"SHELL [\"a\"]\n",
    b"STOPSIGNAL 9\n",
    b"VOLUME [\"/v\"]\n",
    b"EXPOSE 80/tcp\n",
    b"MAINTAINER m\n",
    b"<<EOF\nx\nEOF\n",
    b"<<-'E'\n",
    b"\\\n",
    b"# escape=`\n",
    b"# syntax=x\n",
    b"# check=skip=all\n",
    b"--mount=type=bind,from=b,target=/x ",
    b"--mount=type=cache,id=a,target=/c,sharing=locked ",
    b"--mount=type=secret,id=s,env=E ",
    b"--mount=type=tmpfs,size=1k,target=/t ",
    b"--network=none ",
    b"--chmod=u+rwX,go= ",
    b"--chown=a:b ",
    b"--checksum=sha256:",
    b"--exclude=*.x ",
    b"--parents ",
    b"--link ",
    b"--platform=$BUILDPLATFORM ",
    b"${X:-y}",
    b"${X:+y}",
    b"${X#p*}",
    b"${X%%s}",
    b"${X/a/b}",
    b"${X//a/b}",
    b"${X:?m}",
    b"$X",
    b"'",
    b"\"",
    b"\xEF\xBB\xBF",
    b"\r\n",
    b"[\"a\",\"b\"]",
];

fn seeds() -> Vec<Vec<u8>> {
    [
        "# syntax=docker/dockerfile:1\n# escape=`\nARG V=1\nFROM base:${V} AS one\nRUN a && `\n  b\nCOPY . /x\n",
        "FROM scratch\nADD --checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 https://example.test/a /a\n",
        "FROM base\nENV A=${B:-c} D=\"e $A\"\nRUN --mount=type=cache,target=/c --network=none <<EOF\nx $A\nEOF\nCOPY <<-\"F\" /f\n\tx\n\tF\n",
        "FROM base AS b\nONBUILD RUN x\nFROM b\nCOPY --from=b --chmod=755 --parents a/./b c* /d/\nHEALTHCHECK --retries=3 CMD [\"x\"]\nUSER a\n",
        "FROM --platform=linux/arm64 base\nARG A\nARG B=${A%%x*}\nLABEL a=$B c='d'\nEXPOSE 80-90/udp\nVOLUME /v /w\nSTOPSIGNAL SIGTERM\nSHELL [\"/bin/x\",\"-c\"]\nCMD x\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn request() -> Request {
    Request {
        build_args: BTreeMap::from([("A".to_owned(), "given".to_owned())]),
        target: None,
        platform: Platform::new("linux", "amd64"),
        build_platform: Platform::new("linux", "arm64"),
        contexts: BTreeMap::new(),
        labels: BTreeMap::new(),
        epoch: EpochRule::FromBase,
        ignore: IgnoreFile::default(),
        stages: Stages::All,
        network: RunNetwork::Default,
    }
}

fn read(input: &[u8]) -> String {
    let file = match parse(input) {
        Ok(file) => file,
        Err(error) => return format!("parse: {error}"),
    };
    let request = request();
    let mut images = Images::new();
    loop {
        match sources(&file, &request, &images) {
            Err(error) => return format!("sources: {error}"),
            Ok(wanted) if wanted.is_empty() => break,
            Ok(wanted) => {
                for wanted in wanted {
                    let config = ImageConfig::scratch(&wanted.image.platform);
                    assert!(images.insert(wanted.image, config).is_none(), "an image is asked for twice");
                }
            }
        }
    }
    let findings = check(&file, &request, &images).map(|(found, _)| found.len());
    match plan(&file, &request, &images) {
        Ok(made) => {
            let steps: usize = made.stages.iter().map(|stage| stage.steps.len()).sum();
            format!(
                "plan {} {} {}",
                "s".repeat(made.stages.len()),
                "p".repeat(steps),
                "f".repeat(findings.unwrap_or(0))
            )
        }
        Err(error) => format!("plan: {error}"),
    }
}
