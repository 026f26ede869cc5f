//! Memory stays flat: a 1 GiB file of random bytes is captured, compressed and pushed within 200 MiB.

use wbuild_tests::base;
use wbuild_tests::guest;
use wbuild_tests::image;
use wbuild_tests::layout::Image;
use wbuild_tests::pod::{Access, Pod};
use wbuild_tests::project::Project;
use wbuild_tests::registry::Registry;
use wbuild_tests::session::{Caller, Session};
use wbuild_tests::workspace::Scratch;

const LIMIT_KIB: u64 = 200 * 1024;

#[test]
fn a_gibibyte_of_random_bytes_is_pushed_within_200_mib() {
    let base = base::busybox().unwrap();
    let registry = Registry::start().unwrap();
    registry.seed(&base.layout, base.tag, "busybox:latest").unwrap();
    let dockerfile = "ARG BASE\nFROM ${BASE}\nRUN head -c 1073741824 /dev/urandom > /random\n";
    let project = Project::new(&base, dockerfile).unwrap();
    let mut pod = Pod::new(&image::pod_rootfs().unwrap()).unwrap();
    pod.entrypoint("/measure").volume("context", project.path());
    pod.bind(&guest::program("measure").unwrap(), "/measure", Access::ReadOnly);
    let session = Session::new(Caller::Pod(Box::new(pod))).unwrap();
    let base = format!("BASE={}", registry.reference("busybox:latest"));
    let target = registry.reference("random:latest");
    let build = ["/wbuild", "build", "--push", "--tag", &target, "--build-arg", &base, "/context"];
    let text = session.succeed(&build).unwrap().text();
    // The largest of wbuild, its supervisor and the guest, each of which was waited for.
    let peak =
        text.split_once("peak_kib=").unwrap().1.split_whitespace().next().unwrap().parse::<u64>().unwrap();
    let pulled = Scratch::new("pulled").unwrap();
    registry.pull("random:latest", &pulled.path().join("layout")).unwrap();
    let image = Image::verify(&pulled.path().join("layout")).unwrap();
    assert!(image.layers().unwrap()[1].size > 1 << 30, "random bytes do not get smaller");
    assert!(peak < LIMIT_KIB, "{peak} KiB, more than {LIMIT_KIB}");
}
