//! What an operation costs; run by hand: `cargo test --release -p wbuild-rootfs bench -- --ignored --nocapture`.

use std::time::Instant;

use super::Tree;

#[test]
#[ignore = "prints figures, asserts none"]
fn bench_raw_operations() {
    let tree = Tree::new("/dev/shm");
    tree.root.begin(crate::JournalCheck::Off).unwrap();
    let rounds = 20_000_u32;
    let names: Vec<String> = (0..rounds).map(|i| format!("f{i}")).collect();
    let time = |what: &str, act: &dyn Fn(&str)| {
        let start = Instant::now();
        names.iter().for_each(|name| act(name));
        println!("{what:>8} {:6.2} us", start.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));
    };
    time("create", &|name| tree.create(name, b"").unwrap());
    time("chmod", &|name| tree.chmod(name, 0o600).unwrap());
    time("unlink", &|name| tree.unlink(name).unwrap());
    let start = Instant::now();
    tree.finish();
    println!("{:>8} {:6.2} us a path", "finish", start.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));
}
