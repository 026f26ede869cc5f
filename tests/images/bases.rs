//! The base images themselves: what the tests build on must be right before anything is said about wbuild.

use wbuild_tests::base;
use wbuild_tests::layout::Image;
use wbuild_tests::oracle::Chroot;
use wbuild_tests::registry::Registry;
use wbuild_tests::workspace::Scratch;

#[test]
fn busybox_is_a_valid_image_and_survives_a_registry() {
    let base = base::busybox().unwrap();
    let image = Image::verify(&base.layout).unwrap();
    let registry = Registry::start().unwrap();
    registry.seed(&base.layout, base.tag, "busybox:latest").unwrap();
    let pulled = Scratch::new("pulled").unwrap();
    registry.pull("busybox:latest", pulled.path()).unwrap();
    assert_eq!(Image::verify(pulled.path()).unwrap().digest, image.digest);
}

#[test]
fn apt_works_in_the_debian_base_under_roots_chroot() {
    let base = base::debian().unwrap();
    Image::verify(&base.layout).unwrap();
    let chroot = Chroot::copy_of(base.rootfs.as_deref().unwrap()).unwrap();
    let installed = chroot
        .run("apt-get update && apt-get install -y --no-install-recommends hello && hello -g works")
        .unwrap();
    assert!(installed.success().unwrap().stdout.ends_with("works\n"));
}
