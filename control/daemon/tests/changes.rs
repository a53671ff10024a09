//! Changes through the interface: what is taken, what is refused and why, and what stays.

mod common;

use common::configuration;
use common::control::Control;
use common::fake::FakeDataplane;
use sluice_control_api::{Applied, Route, Rule, Status};
use sluice_policy::model::Owner;

const RULES: &str = "filters:\n  forward:\n    default: accept\n    rules:\n      - { name: no-http, \
                     protocol: tcp, destination-port: 80, action: drop }\n";
const LIVE_ROUTE: &str = r#"{"to":"10.9.0.0/16","via":[{"address":"10.0.2.2"}]}"#;

fn cli_routes(control: &Control) -> Vec<String> {
    let routes: Vec<Route> = control.get("/v1/routes");
    let live = routes.iter().filter(|route| route.owner == Owner::Cli);
    live.map(|route| route.prefix.to_string()).collect()
}

#[test]
fn a_file_is_applied_as_a_whole_and_said_in_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let dataplane = FakeDataplane::start(directory.path());
    let control = Control::with_config(directory.path(), &configuration(""), &[]);
    assert_eq!(control.committed(), 1);
    let status: Status = control.get("/v1/status");
    assert!(status.file.unwrap().ends_with("router.yaml"));
    assert_eq!(status.dataplane.unwrap().generation, 1);

    let path = "/v1/apply?file=next.yaml";
    let dry: Applied = control.done("POST", &format!("{path}&dry_run=true"), &configuration(RULES));
    assert_eq!((dry.generation, dry.dry_run), (1, true));
    assert_eq!(dry.changes.to_string(), "+1 filter, +1 rule");
    assert_eq!(dataplane.generation(), 1, "a dry run changes nothing");

    let applied: Applied = control.done("POST", path, &configuration(RULES));
    assert_eq!((applied.generation, applied.waiting), (2, vec![1]));
    assert_eq!(applied.changes.to_string(), "+1 filter, +1 rule");
    let rules: Vec<Rule> = control.get("/v1/rules");
    assert_eq!((&*rules[0].name, &*rules[0].matches), ("no-http", "tcp dport 80"));
    assert_eq!(&*rules[0].position.as_ref().unwrap().file, "next.yaml");

    let again: Applied = control.done("POST", path, &configuration(RULES));
    assert_eq!((again.generation, again.changes.is_empty()), (2, true), "nothing to do");
    assert_eq!(dataplane.generation(), 2);

    let larger = configuration(RULES).replace("memory: 64", "memory: 128");
    let applied: Applied = control.done("POST", path, &larger);
    assert!(applied.notes[0].contains("next `sluice up`"), "{:?}", applied.notes);
}

#[test]
fn a_wrong_file_is_refused_with_every_mistake() {
    let directory = tempfile::tempdir().unwrap();
    let dataplane = FakeDataplane::start(directory.path());
    let control = Control::with_config(directory.path(), &configuration(""), &[]);
    control.committed();
    let wrong = configuration(
        "routes:\n  - { to: 10.9.0.0/16, via: 10.0.99.1 }\n  - { to: 10.8.0.0/16, via: 10.0.98.1 }\n",
    );
    let failure = control.fails(400, "POST", "/v1/apply?file=wrong.yaml", &wrong);
    assert_eq!(failure.details.len(), 2, "{failure}");
    assert!(failure.details[0].starts_with("wrong.yaml:6:"), "{failure}");
    assert!(failure.details[1].contains("10.0.98.1"), "{failure}");
    assert_eq!(dataplane.generation(), 1);
}

#[test]
fn what_the_dataplane_refuses_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let dataplane = FakeDataplane::start(directory.path());
    let control = Control::with_config(directory.path(), &configuration(""), &[]);
    control.committed();
    let reasons = vec!["port lan: no such device".to_owned(), "port wan: busy".to_owned()];
    dataplane.behaviour().refuse = reasons.clone();
    let failure = control.fails(409, "POST", "/v1/apply", &configuration(RULES));
    assert_eq!(failure.details, reasons);
    dataplane.behaviour().refuse.clear();
    let rules: Vec<Rule> = control.get("/v1/rules");
    assert!(rules.is_empty(), "what is desired is as before");
    let applied: Applied = control.done("POST", "/v1/routes", LIVE_ROUTE);
    assert_eq!(applied.changes.to_string(), "+1 route", "and does not bring the refused along");
}

#[test]
fn a_refused_start_is_said_and_another_file_is_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let dataplane = FakeDataplane::start(directory.path());
    dataplane.behaviour().refuse = vec!["port lan: no such device".into()];
    let control = Control::with_config(directory.path(), &configuration(""), &[]);
    assert_eq!(control.refused(), ["port lan: no such device"]);
    let failure = control.fails(503, "GET", "/v1/routes", "");
    assert_eq!(failure.details, ["port lan: no such device"]);
    control.fails(503, "POST", "/v1/routes", LIVE_ROUTE);
    dataplane.behaviour().refuse.clear();
    let applied: Applied = control.done("POST", "/v1/apply", &configuration(RULES));
    assert_eq!(applied.generation, 1);
    assert!(applied.changes.to_string().starts_with("+2 ports, +2 interfaces"));
    assert_eq!(control.committed(), 1);
}

#[test]
fn a_change_may_say_what_it_expects() {
    let directory = tempfile::tempdir().unwrap();
    let dataplane = FakeDataplane::start(directory.path());
    let control = Control::with_config(directory.path(), &configuration(""), &[]);
    control.committed();
    let failure = control.fails(409, "POST", "/v1/apply?generation=7", &configuration(RULES));
    assert!(failure.error.contains("generation 1 is live, not 7"), "{failure}");
    let _: Applied = control.done("POST", "/v1/apply?generation=1", &configuration(RULES));

    dataplane.behaviour().conflict_once = true;
    let failure = control.fails(409, "POST", "/v1/routes", LIVE_ROUTE);
    assert!(failure.error.contains("generation 3 is live, not 2"), "{failure}");
    assert_eq!(control.committed(), 3, "how it really is was found out");
    let _: Applied = control.done("POST", "/v1/routes", LIVE_ROUTE);
}

#[test]
fn live_routes_come_go_and_survive_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let _dataplane = FakeDataplane::start(directory.path());
    let control = Control::with_config(directory.path(), &configuration(""), &[]);
    control.committed();
    let applied: Applied = control.done("POST", "/v1/routes", LIVE_ROUTE);
    assert_eq!((applied.generation, applied.changes.routes.added), (2, 1));
    let again: Applied = control.done("POST", "/v1/routes", LIVE_ROUTE);
    assert_eq!((again.generation, again.changes.is_empty()), (2, true));

    let other = r#"{"to":"10.9.0.0/16","blackhole":true}"#;
    let failure = control.fails(409, "POST", "/v1/routes", other);
    assert!(failure.error.contains("10.9.0.0/16"), "{failure}");
    let replace = r#"{"to":"10.9.0.0/16","blackhole":true,"replace":true}"#;
    let applied: Applied = control.done("POST", "/v1/routes", replace);
    assert_eq!(applied.changes.to_string(), "~1 route");

    let file = configuration("routes: [ { to: 10.9.0.0/16, via: 10.0.2.9 } ]\n");
    let _: Applied = control.done("POST", "/v1/apply", &file);
    let routes: Vec<Route> = control.get("/v1/routes");
    let of = |owner| routes.iter().find(|route| route.owner == owner).unwrap();
    assert!(of(Owner::Cli).active && !of(Owner::Static).active, "the live layer is on top");
    assert_eq!(routes.iter().filter(|route| route.owner == Owner::Connected).count(), 3);

    let _: Applied = control.done("DELETE", "/v1/routes?to=10.9.0.0/16", "");
    let routes: Vec<Route> = control.get("/v1/routes?instance=default");
    assert!(routes.iter().any(|route| route.owner == Owner::Static && route.active));
    assert!(cli_routes(&control).is_empty());
    control.fails(404, "DELETE", "/v1/routes?to=10.9.0.0/16", "");
}

#[test]
fn requests_that_make_no_sense_are_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let _dataplane = FakeDataplane::start(directory.path());
    let control = Control::with_config(directory.path(), &configuration(""), &[]);
    control.committed();
    for (method, path, body, says) in [
        ("POST", "/v1/routes", r#"{"to":"10.9.0.1/16","blackhole":true}"#, "10.9.0.0/16 is meant"),
        ("POST", "/v1/routes", r#"{"to":"10.9.0.0/16"}"#, "exactly one of"),
        ("POST", "/v1/routes", r#"{"to":"10.9.0.0/16","vai":1}"#, "vai"),
        ("POST", "/v1/routes", "{", ""),
        ("POST", "/v1/apply?colour=red", "", "colour"),
        ("GET", "/v1/routes?instance=blue", "", "no instance `blue`"),
    ] {
        let failure = control.fails(400, method, path, body);
        assert!(failure.error.contains(says), "{path} {body}: {failure}");
    }
    let unreachable = r#"{"to":"10.9.0.0/16","via":[{"address":"10.0.77.1"}]}"#;
    let failure = control.fails(400, "POST", "/v1/routes", unreachable);
    assert!(failure.details[0].contains("10.0.77.1"), "{failure}");
    control.fails(404, "GET", "/v1/nothing", "");
}

#[test]
fn a_large_change_goes_in_parts_and_takes_effect_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let dataplane = FakeDataplane::start(directory.path());
    let control = Control::with_config(directory.path(), &configuration(""), &[]);
    control.committed();
    let mut routes = "routes:\n".to_owned();
    for i in 0..5000 {
        routes += &format!("  - {{ to: 20.{}.{}.0/24, blackhole: true }}\n", i / 256, i % 256);
    }
    let applied: Applied = control.done("POST", "/v1/apply", &configuration(&routes));
    assert_eq!((applied.generation, applied.changes.routes.added), (2, 5000));
    assert!(dataplane.behaviour().parts.len() > 3, "in parts");
    assert_eq!(dataplane.state().routes.len(), 5000);
}
