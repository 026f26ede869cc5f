//! What only root can set, set by a step: file capabilities, devices, setuid and setgid, and owners of links.

use wbuild_tests::base;
use wbuild_tests::command::{self, command};
use wbuild_tests::layout::Image;
use wbuild_tests::project::{Project, pod};
use wbuild_tests::tree;
use wbuild_tests::workspace::Scratch;

const DOCKERFILE: &str = r#"FROM base
RUN apt-get update && apt-get install -y --no-install-recommends libcap2-bin
RUN mkdir /t && cd /t && cp /bin/true capable && setcap cap_net_raw,cap_chown+ep capable && \
    mknod null c 1 3 && mknod disk b 8 0 && mkfifo fifo && chmod 640 null && chown 7:8 null disk fifo && \
    echo x > file && chown 1234:2345 file && chmod 6755 file && ln file twin && ln -s file link && chown -h 5:6 link && \
    mkdir sticky && chown 9:10 sticky && chmod 3775 sticky && touch sticky/inherits && cp capable plain && echo more >> plain
RUN cd /t && getcap capable > result && stat -c '%n %F %a %u:%g %t:%T %h' * | grep -v ^result >> result && chown 4321 file && stat -c '%a' twin >> result
"#;

#[test]
fn what_only_root_can_set_is_seen_by_later_steps_and_by_other_tools() {
    let project = Project::new(&base::debian().unwrap(), DOCKERFILE).unwrap();
    let attempt = project.try_build(pod().unwrap(), &["--tag", "attributes:latest"]).unwrap();
    attempt.outcome.success().unwrap();
    let image = Image::verify(&attempt.layout).unwrap();
    let expected = "capable cap_chown,cap_net_raw=ep\n\
                    capable regular file 755 0:0 0:0 1\ndisk block special file 644 7:8 8:0 1\nfifo fifo 644 7:8 0:0 1\n\
                    file regular file 6755 1234:2345 0:0 2\nlink symbolic link 777 5:6 0:0 1\n\
                    null character special file 640 7:8 1:3 1\nplain regular file 755 0:0 0:0 1\nsticky directory 3775 9:10 0:0 2\n\
                    twin regular file 6755 1234:2345 0:0 2\n755\n";
    assert_eq!(image.text("t/result").unwrap(), expected);

    let bundle = Scratch::new("bundle").unwrap();
    let tagged = format!("{}:latest", image.dir.display());
    let unpacked = bundle.path().join("b");
    command::output("umoci", ["unpack", "--image", &tagged, unpacked.to_str().unwrap()]).unwrap();
    let found = tree::read(&unpacked.join("rootfs/t"), &[]).unwrap();
    let entry = |name: &str| &found[std::path::Path::new(name)];
    assert_eq!(
        (entry("null").kind.as_str(), entry("null").mode, entry("null").owner.as_str()),
        ("char 1:3", 0o640, "7:8")
    );
    assert_eq!((entry("disk").kind.as_str(), entry("fifo").kind.as_str()), ("block 8:0", "fifo"));
    assert_eq!(
        (entry("file").mode, entry("file").owner.as_str()),
        (0o755, "4321:2345"),
        "chown takes setuid and setgid away"
    );
    assert_eq!(entry("file").group, entry("twin").group);
    assert!(entry("file").group.is_some());
    assert_eq!(entry("link").owner, "5:6");
    assert_eq!(
        (entry("sticky").mode, entry("sticky/inherits").owner.as_str()),
        (0o3775, "0:10"),
        "setgid is inherited"
    );
    let mut getcap = command("chroot", [unpacked.join("rootfs")]);
    getcap.args(["/sbin/getcap", "/t/capable"]).current_dir("/");
    assert_eq!(
        command::run(getcap).unwrap().success().unwrap().stdout,
        "/t/capable cap_chown,cap_net_raw=ep\n"
    );
}
