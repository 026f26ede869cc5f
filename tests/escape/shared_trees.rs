//! Two stages from one: their trees share inodes, and what one does to its files never shows in the other.

use wbuild_tests::base;
use wbuild_tests::project::{Project, pod};
use wbuild_tests::session::Caller;

/// Each changes a file of the first stage in another way.
const ATTACKS: &str = "echo bad >> /d/file; \
    dd if=/dev/zero of=/d/tool bs=1 count=3 conv=notrunc; \
    chmod 755 /d/mode; \
    touch -d @86400 /d/time; \
    exec 3</d/gone; rm /d/gone; echo bad > /proc/self/fd/3; chmod 755 /proc/self/fd/3; \
    ln /d/linked /another; echo bad >> /another; \
    exec 4</d/held; echo bad > /d/held; chmod 755 /proc/self/fd/4; touch -d @86400 /proc/self/fd/4; \
    mv /d/moved /elsewhere; echo bad > /elsewhere; \
    chown 7:7 /d/owned; \
    sed -i s/kept/bad/ /d/replaced; \
    truncate -s 0 /d/cut; \
    for n in 1 2 3 4; do (i=0; while [ $i -lt 100 ]; do i=$((i+1)); \
        ln /d/raced /d/r$n; echo bad > /d/r$n; chmod 755 /d/r$n; rm /d/r$n; done) & done; wait";

const FILES: [&str; 11] =
    ["file", "tool", "mode", "time", "gone", "linked", "held", "moved", "owned", "replaced", "cut"];

fn dockerfile(in_between: &str) -> String {
    let make: String =
        FILES.iter().chain(&["raced"]).map(|name| format!("echo kept {name} > /d/{name}; ")).collect();
    format!(
        "FROM base AS one\n\
         RUN mkdir /d; {make} ln /d/file /d/name\n\
         FROM one AS between\n\
         RUN {in_between}; echo done > /done\n\
         FROM one\n\
         COPY --from=between /done /done\n\
         RUN cat /d/* > /seen; stat -c '%n %a %u %g %Y %h' /d/* >> /seen\n\
         COPY --from=one /d /copied\n"
    )
}

fn digest(dockerfile: &str, caller: Caller, more: &[&str]) -> String {
    let project = Project::new(&base::busybox().unwrap(), dockerfile).unwrap();
    let attempt = project.try_build(caller, more).unwrap();
    attempt.outcome.success().unwrap();
    wbuild_tests::layout::Image::verify(&attempt.layout).unwrap().digest.to_string()
}

#[test]
fn a_stage_cannot_change_the_files_it_shares() {
    for caller in [pod, || Ok(Caller::User(12_349)), || Ok(Caller::Root)] {
        let harmless = digest(&dockerfile("true"), caller().unwrap(), &[]);
        assert_eq!(digest(&dockerfile(ATTACKS), caller().unwrap(), &[]), harmless);
        // The control: in its own tree the stage did change them.
        let between = ["--target", "between"];
        assert_ne!(
            digest(&dockerfile(ATTACKS), caller().unwrap(), &between),
            digest(&dockerfile("true"), caller().unwrap(), &between)
        );
    }
}
