//! Times: later steps are never older than earlier ones, so that make is right, and no time depends on the day.

use wbuild_tests::base;
use wbuild_tests::project::{Project, pod};

/// 2024-01-01, the base's `created`: the build's epoch where SOURCE_DATE_EPOCH is not set.
const EPOCH: u64 = 1_704_067_200;

const BUSYBOX: &str = r#"FROM base
COPY source /source
RUN cp /source /object && test ! /source -nt /object
COPY later /source
RUN test /source -nt /object && cp /source /object
RUN test ! /source -nt /object && touch -d '1999-12-31 00:00:00' /old && touch -d '2033-01-01 00:00:00' /future
RUN test "$SOURCE_DATE_EPOCH" = 1704067200 && env > /env
"#;

#[test]
fn an_object_is_never_older_than_the_source_before_it() {
    let project = Project::new(&base::busybox().unwrap(), BUSYBOX).unwrap();
    project.file("source", "1").unwrap().file("later", "2").unwrap();
    let built = project.build(pod().unwrap()).unwrap();
    let time = |name: &str| built.image.entry(name).unwrap().unwrap().mtime;
    assert_eq!(built.image.text("object").unwrap(), "2");
    assert_eq!(time("old"), 946_598_400, "an older time is kept");
    assert!(time("source") < time("object") && time("object") < time("future"), "each step has a later time");
    assert!(time("env") <= EPOCH, "and none is past the epoch");
    assert!(
        !built.image.config["config"]["Env"].to_string().contains("SOURCE_DATE_EPOCH"),
        "it is not in the image"
    );
}

const MAKE: &str = r#"FROM base
RUN apt-get update && apt-get install -y --no-install-recommends make
WORKDIR /src
COPY Makefile a b ./
RUN make > first.log && make > second.log
COPY changed a
RUN make > third.log
"#;

#[test]
fn make_makes_what_was_copied_again_and_nothing_else() {
    let project = Project::new(&base::debian().unwrap(), MAKE).unwrap();
    // Without -r make's own rules would link `all` from an `all.o`.
    let rules = "MAKEFLAGS += -r\nall: a.o b.o\na.o b.o: %.o: %\n\tcp $< $@\n";
    project
        .file("Makefile", rules)
        .unwrap()
        .file("a", "1")
        .unwrap()
        .file("b", "2")
        .unwrap()
        .file("changed", "3")
        .unwrap();
    let built = project.build(pod().unwrap()).unwrap();
    assert_eq!(built.image.text("src/first.log").unwrap(), "cp a a.o\ncp b b.o\n");
    assert_eq!(built.image.text("src/second.log").unwrap(), "make: Nothing to be done for 'all'.\n");
    assert_eq!(built.image.text("src/third.log").unwrap(), "cp a a.o\n");
    assert_eq!(built.image.text("src/a.o").unwrap(), "3");
}
