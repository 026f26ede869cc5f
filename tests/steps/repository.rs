//! git: a repository of 2,000 files made, cloned, changed, packed and checked.

use wbuild_tests::base;
use wbuild_tests::project::{Project, pod};

const DOCKERFILE: &str = r#"FROM base
RUN apt-get update && apt-get install -y --no-install-recommends git
ENV GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.com GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.com
RUN set -e; git init -q /origin; cd /origin; \
    for d in $(seq 1 20); do mkdir "d$d"; for f in $(seq 1 100); do echo "$d/$f" > "d$d/f$f"; done; done; \
    git add .; git commit -qm first
RUN set -e; git clone -q --no-hardlinks /origin /clone; cd /clone; \
    rm d1/f1; echo changed > d2/f2; git mv d3 moved; git commit -qam second; \
    git gc -q --prune=now; git fsck --strict; \
    { git rev-list --count HEAD; git ls-files | wc -l; git show HEAD:d2/f2; git status --porcelain | wc -l; \
      ls .git/objects/pack/*.pack | wc -l; git log -1 --stat --format=%s | tail -1; } > /result.txt
"#;

#[test]
fn a_repository_is_cloned_changed_and_packed() {
    let built = Project::new(&base::debian().unwrap(), DOCKERFILE).unwrap().build(pod().unwrap()).unwrap();
    let result = built.image.text("result.txt").unwrap();
    let lines: Vec<&str> = result.lines().map(str::trim).collect();
    assert_eq!(lines[..5], ["2", "1999", "changed", "0", "1"], "{result}");
    assert!(lines[5].starts_with("102 files changed"), "{result}");
    let first = built.image.text("origin/d7/f77").unwrap();
    assert_eq!(first, "7/77\n");
}
