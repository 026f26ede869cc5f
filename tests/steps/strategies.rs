//! The two ways to start a dynamic program, and every kind of caller: the same Debian steps give the same image, and
//! what root's chroot gives.
//!
//! In wbuild's own image the stub stands at the interpreters' paths and the kernel starts it there; anywhere else the
//! stub is started in the program's place and loads it.

use std::fs;
use wbuild_tests::base;
use wbuild_tests::guest;
use wbuild_tests::oracle::Chroot;
use wbuild_tests::project::{Project, pod, pod_of_a_random_user, pod_without_stubs};
use wbuild_tests::session::Caller;

/// Each writes to a file of its own in /t.
const STEPS: [&str; 6] = [
    r##"mkdir /t; cd /t; printf '#!/bin/sh\necho "sh $0 $*"\n' > a; printf '#!/t/a x\n' > b; printf 'echo "no first line $*"\n' > c; printf '#!/nowhere/sh\n' > d; printf '#!/usr/bin/env -S perl -w\nprint "perl @ARGV\\n";\n' > e; printf '#!/usr/local/bin/measure /bin/echo\n' > f; chmod +x a b c d e f; { ./a 1 2; ./b 3; ./c 4; ./d 2>&1; echo "d: $?"; ./e 5 6; ./f 7 2>/dev/null; } > scripts"##,
    r##"{ bash -c 'exec -a other sh -c "echo \$0; tr \"\\0\" \" \" < /proc/self/cmdline"'; readlink /proc/self/exe; bash -c 'readlink /proc/$$/exe'; cat /proc/self/comm; bash -c 'cat /proc/$$/comm'; } > /t/names"##,
    r##"{ ln -s /bin/echo /t/link; /t/link linked; cp /bin/echo /t/copy; /t/copy copied; /lib64/ld-linux-x86-64.so.2 /bin/echo by the loader; touch /t/plain; /t/plain 2>&1; echo "plain: $?"; chmod +x /t/plain; /t/plain; echo "empty: $?"; /t 2>&1; echo "directory: $?"; } > /t/programs"##,
    r##"{ perl -e 'my @a = ("x" x 20) x 20000; exec "sh", "-c", "echo \$#", "sh", @a or die'; perl -e 'my @a = ("x" x 100000) x 60; exec "true", @a or print "too many: ", $!+0, "\n"'; perl -e 'exec "true", "x" x 200000 or print "too long: ", $!+0, "\n"'; } > /t/many"##,
    r##"{ for i in $(seq 1 150); do /bin/true & done; wait; seq 1 300 | xargs -P 8 -n 1 sh -c 'echo $0' | sort -n | tail -1; env -i /usr/bin/env; env -i A=1 /usr/bin/env; nice -n 5 nice; timeout 0.2 sleep 9; echo "timeout: $?"; } > /t/parallel"##,
    r##"{ ldd /bin/bash | sed 's/ (0x.*//' | sort; perl -MPOSIX -MFile::Spec -e 'print File::Spec->rel2abs("x"), " ", getcwd(), "\n"'; } > /t/loaded"##,
];

#[test]
fn both_ways_to_start_a_program_make_the_image_of_every_caller_and_of_root() {
    let base = base::debian().unwrap();
    let measure = guest::program("measure").unwrap();
    let chroot = Chroot::copy_of(base.rootfs.as_deref().unwrap()).unwrap();
    fs::copy(&measure, chroot.path().join("usr/local/bin/measure")).unwrap();
    let mut dockerfile = "FROM base\nCOPY --chmod=755 measure /usr/local/bin/\n".to_owned();
    for step in STEPS {
        dockerfile.push_str(&format!("RUN {step}\n"));
        chroot.run(step).unwrap().success().unwrap();
    }
    let project = Project::new(&base, &dockerfile).unwrap();
    project.program("measure", &measure).unwrap();
    let (bare, _keep) = pod_without_stubs().unwrap();
    let callers = [pod().unwrap(), bare, pod_of_a_random_user().unwrap(), Caller::User(12_351), Caller::Root];
    let mut digests = Vec::new();
    for caller in callers {
        let shown = caller.to_string();
        let built = project.build(caller).unwrap_or_else(|error| panic!("{shown}: {error:#}"));
        for name in ["scripts", "names", "programs", "many", "parallel", "loaded"] {
            let expected = fs::read_to_string(chroot.path().join("t").join(name)).unwrap();
            assert_eq!(built.image.text(&format!("t/{name}")).unwrap(), expected, "{shown}: {name}");
        }
        digests.push((shown, built.image.digest));
    }
    assert!(digests.iter().all(|(_, digest)| *digest == digests[0].1), "{digests:#?}");
}
