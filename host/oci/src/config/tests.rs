//! Tests of image configs.

use super::*;
use proptest::prelude::*;

/// In the form BuildKit gives it.
const WHOLE: &str = concat!(
    r#"{"architecture":"arm","author":"A","config":{"User":"app:app","ExposedPorts":{"443/tcp":{},"80/tcp":{}},"#,
    r#""Env":["PATH=/bin","A=b c"],"Entrypoint":["/run"],"Cmd":["/bin/sh","-c","a \u0026\u0026 b \u003e c"],"#,
    r#""Volumes":{"/data":{}},"WorkingDir":"/srv","Labels":{"a":"1","b":"2"},"StopSignal":"SIGINT","ArgsEscaped":true,"#,
    r#""Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":5000000000,"Timeout":1000000000,"StartPeriod":2000000000,"#,
    r#""StartInterval":3000000000,"Retries":3},"OnBuild":["RUN make"],"Shell":["/bin/bash","-c"]},"#,
    r#""created":"2026-01-02T03:04:05.0678Z","history":[{"created":"2026-01-02T03:04:05Z","#,
    r#""created_by":"RUN /bin/sh -c make # buildkit","author":"A","comment":"buildkit.dockerfile.v0"},"#,
    r#"{"created_by":"CMD [\"a\"]","empty_layer":true}],"os":"linux","#,
    r#""rootfs":{"type":"layers","diff_ids":["#,
    r#""sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},"variant":"v7"}"#
);

#[test]
fn every_field_of_docker_comes_through_to_the_byte() {
    let config = ImageConfig::parse(WHOLE.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(config.to_bytes()).unwrap(), WHOLE);
    assert_eq!(config.config.cmd[2], "a && b > c");
    assert_eq!(config.config.healthcheck.as_ref().unwrap().retries, 3);
    assert!(config.history[1].empty_layer);
    assert_eq!(config.platform().to_string(), "linux/arm/v7");
    let oracle = oci_spec::image::ImageConfiguration::from_reader(WHOLE.as_bytes()).unwrap();
    let execution = oracle.config().as_ref().unwrap();
    assert_eq!(execution.env().as_ref().unwrap(), &config.config.env);
    assert_eq!(execution.working_dir().as_deref(), Some("/srv"));
    assert_eq!(oracle.history().as_ref().unwrap().len(), 2);
}

#[test]
fn what_is_empty_is_left_out() {
    let config = ImageConfig::scratch(&"linux/amd64".parse().unwrap());
    let text = String::from_utf8(config.to_bytes()).unwrap();
    let expected =
        r#"{"architecture":"amd64","config":{},"os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    assert_eq!(text, expected);
    assert_eq!(ImageConfig::parse(text.as_bytes()).unwrap(), config);
}

#[test]
fn dockers_nulls_and_own_fields_are_read() {
    let text = r#"{"architecture":"amd64","os":"linux","container":"0123","docker_version":"20.10",
        "container_config":{"Cmd":["x"]},"created":"2020-05-01T02:00:00.5+02:00",
        "config":{"Hostname":"","ExposedPorts":null,"Env":null,"Cmd":null,"Volumes":null,"WorkingDir":"",
        "Entrypoint":null,"OnBuild":null,"Labels":null,"Shell":null,"Healthcheck":null,"User":null},
        "rootfs":{"type":"layers","diff_ids":null},"history":null}"#;
    let config = ImageConfig::parse(text.as_bytes()).unwrap();
    assert_eq!(config.config, Execution::default());
    let created = config.created.unwrap();
    assert_eq!(
        (created.to_string().as_str(), created.unix()),
        ("2020-05-01T02:00:00.5+02:00", 1_588_291_200)
    );
    let no_config = r#"{"architecture":"amd64","os":"linux","config":null,"rootfs":{"type":"layers"}}"#;
    assert_eq!(ImageConfig::parse(no_config.as_bytes()).unwrap().config, Execution::default());
}

#[test]
fn what_is_no_image_config_is_refused() {
    for text in [
        "",
        "{}",
        "null",
        r#"{"architecture":"a","os":"b","rootfs":{"type":"squashfs","diff_ids":[]}}"#,
        r#"{"architecture":"a","os":"b","rootfs":{"type":"layers","diff_ids":["sha256:short"]}}"#,
        r#"{"architecture":"a","os":"b","rootfs":{"type":"layers"},"created":"yesterday"}"#,
        r#"{"architecture":"a","os":"b","rootfs":{"type":"layers"},"config":{"Env":"A=b"}}"#,
    ] {
        assert!(ImageConfig::parse(text.as_bytes()).is_err(), "{text}");
    }
}

fn execution() -> impl Strategy<Value = Execution> {
    let words = || proptest::collection::vec(any::<String>(), 0..3);
    let set = || proptest::collection::btree_set(any::<String>(), 0..3);
    let labels = proptest::collection::btree_map(any::<String>(), any::<String>(), 0..3);
    let health = proptest::option::of((words(), any::<i64>(), any::<i64>()));
    (words(), words(), words(), set(), labels, any::<bool>(), health, any::<String>()).prop_map(
        |(env, cmd, on_build, volumes, labels, args_escaped, health, user)| Execution {
            env,
            cmd,
            on_build,
            exposed_ports: volumes.clone(),
            volumes,
            labels,
            args_escaped,
            user,
            healthcheck: health.map(|(test, interval, retries)| Healthcheck {
                test,
                interval,
                retries,
                ..Healthcheck::default()
            }),
            ..Execution::default()
        },
    )
}

proptest! {
    #[test]
    fn any_config_comes_through(execution in execution(), by in any::<String>(), empty_layer in any::<bool>()) {
        let mut config = ImageConfig::scratch(&"linux/amd64".parse().unwrap());
        config.config = execution;
        config.history.push(History { created_by: by, empty_layer, ..History::default() });
        let bytes = config.to_bytes();
        prop_assert_eq!(ImageConfig::parse(&bytes).unwrap(), config);
        prop_assert!(oci_spec::image::ImageConfiguration::from_reader(bytes.as_slice()).is_ok());
    }
}
