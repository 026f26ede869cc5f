//! Users: made by useradd, become by su and by USER, held by permissions that exist only in the broker's records.

use wbuild_tests::base;
use wbuild_tests::project::{Project, pod};

const DOCKERFILE: &str = r#"FROM base
RUN useradd --create-home --shell /bin/bash alice && useradd --create-home bob
RUN su alice -c 'umask 027; id -un > ~/who; mkdir ~/closed; echo x > ~/closed/x; chmod 700 ~/closed' && \
    su alice -c '! cat /etc/shadow && ! touch /root/x && ! touch /etc/x && ! chown bob ~/who && ! chmod 666 /etc/passwd' && \
    su bob -c '! ls /home/alice/closed && ! cat /home/alice/who'
USER alice
RUN set -e; test "$(id -u):$(id -g)" = "$(id -u alice):$(id -g alice)"; \
    echo mine > /tmp/mine; tar -C /home/alice -cf /tmp/home.tar .; ! tar -cf /dev/null /root; \
    mkdir /tmp/copy; tar -C /tmp/copy -xf /tmp/home.tar; diff -r /home/alice /tmp/copy; ln -s /etc/shadow /tmp/link; ! cat /tmp/link
USER bob
RUN ! rm /tmp/mine && ! echo x >> /tmp/mine && ! mv /tmp/mine /tmp/yours
USER 4242:4343
RUN test "$(id -u):$(id -g)" = 4242:4343 && echo nobody > /tmp/numbers
USER root
RUN stat -c '%U:%G %a %n' /home/alice/who /home/alice/closed /home/alice/closed/x /tmp/mine > /result.txt && \
    stat -c '%u:%g %a %n' /tmp/numbers >> /result.txt && \
    tar -tvf /tmp/home.tar | awk '{ print $2, $6 }' | sort >> /result.txt && \
    setpriv --reuid alice --regid alice --clear-groups --no-new-privs sh -c 'id -un; ! cat /etc/shadow' >> /result.txt
"#;

#[test]
fn users_are_who_they_are_and_no_more() {
    let built = Project::new(&base::debian().unwrap(), DOCKERFILE).unwrap().build(pod().unwrap()).unwrap();
    let result = built.image.text("result.txt").unwrap();
    let expected = "alice:alice 640 /home/alice/who\nalice:alice 700 /home/alice/closed\nalice:alice 640 /home/alice/closed/x\n\
                    alice:alice 644 /tmp/mine\n4242:4343 644 /tmp/numbers\n";
    assert!(result.starts_with(expected), "{result}");
    assert!(result.contains("alice/alice ./closed/x\n") && result.ends_with("alice\n"), "{result}");
    let alice = built.image.entry("home/alice/who").unwrap().unwrap();
    assert_eq!(
        (alice.uid, alice.gid, alice.mode, alice.content.as_slice()),
        (1000, 1000, 0o640, b"alice\n".as_slice())
    );
    assert_eq!(built.image.entry("home/bob").unwrap().unwrap().uid, 1001);
    assert_eq!(built.image.entry("etc/shadow").unwrap().unwrap().mode, 0o640);
}
