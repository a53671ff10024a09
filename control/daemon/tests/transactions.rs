//! Changes of live routes: owners, expectations, many at once, and everything that is refused.

mod common;

use common::configuration;
use common::control::Control;
use common::fake::FakeDataplane;
use serde_json::{Value, json};
use sluice_control_api::{Applied, Commit, CommitKind, Failure, Route};
use sluice_policy::model::Owner;

struct Lab {
    directory: tempfile::TempDir,
    dataplane: FakeDataplane,
    control: Control,
}

/// Static has 10.9.0.0/16.
fn lab() -> Lab {
    let directory = tempfile::tempdir().unwrap();
    let dataplane = FakeDataplane::start(directory.path());
    let file = configuration("routes: [ { to: 10.9.0.0/16, via: 10.0.2.9 } ]\n");
    let control = Control::with_config(directory.path(), &file, &[]);
    assert_eq!(control.committed(), 1);
    Lab { directory, dataplane, control }
}

impl Lab {
    fn done(&self, operations: &Value) -> Applied {
        let body = json!({ "operations": operations }).to_string();
        self.control.done("POST", "/v1/transaction", &body)
    }

    fn fails(&self, code: u16, operations: &Value) -> Failure {
        let generation = self.dataplane.generation();
        let body = json!({ "operations": operations }).to_string();
        let failure = self.control.fails(code, "POST", "/v1/transaction", &body);
        assert_eq!(self.dataplane.generation(), generation, "nothing changed: {failure}");
        failure
    }

    /// `owner generation`, `*` behind the one in use, `?` behind a stale one.
    fn at(&self, prefix: &str) -> Vec<String> {
        let routes: Vec<Route> = self.control.get("/v1/routes");
        let here = routes.iter().filter(|route| route.prefix.to_string() == prefix);
        here.map(|route| {
            let active = if route.active { "*" } else { "" };
            let stale = if route.stale { "?" } else { "" };
            format!("{} {}{active}{stale}", route.owner, route.generation)
        })
        .collect()
    }
}

fn set(prefix: &str, owner: &str) -> Value {
    json!({ "set": { "to": prefix, "via": "10.0.2.2", "owner": owner } })
}

fn blackhole(prefix: &str, owner: &str) -> Value {
    json!({ "set": { "to": prefix, "blackhole": true, "owner": owner } })
}

#[test]
fn owners_are_layers_that_do_not_see_each_other() {
    let lab = lab();
    let applied = lab.done(&json!([
        set("10.9.0.0/16", "dhcp"),
        set("10.9.0.0/16", "wan-watch"),
        set("10.8.0.0/16", "dhcp"),
        { "set": { "to": "10.9.0.0/16", "via": "10.0.2.3", "owner": "bgp", "preference": 1,
                   "metric": 7, "tag": 9 } },
    ]));
    assert_eq!((applied.generation, applied.changes.routes.added), (2, 4));
    assert_eq!(lab.at("10.9.0.0/16"), ["bgp 2*", "dhcp 2", "static 1", "wan-watch 2"]);
    let routes: Vec<Route> = lab.control.get("/v1/routes");
    let bgp = routes.iter().find(|route| route.owner == Owner::Bgp).unwrap();
    assert_eq!((bgp.preference, bgp.metric, bgp.tag, &*bgp.table), (1, 7, 9, "main"));

    let _: Applied = lab.control.done("DELETE", "/v1/routes?to=10.9.0.0/16&owner=bgp", "");
    assert_eq!(lab.at("10.9.0.0/16"), ["dhcp 2*", "static 1", "wan-watch 2"]);
    let failure = lab.control.fails(404, "DELETE", "/v1/routes?to=10.9.0.0/16&owner=bgp", "");
    assert!(failure.error.contains("no bgp route to 10.9.0.0/16"), "{failure}");

    let applied = lab.done(&json!([{ "withdraw": { "owner": "dhcp" } }]));
    assert_eq!(applied.changes.to_string(), "-2 routes");
    assert_eq!(lab.at("10.9.0.0/16"), ["static 1*", "wan-watch 2"]);
    let commits: Vec<Commit> = lab.control.get("/v1/commits");
    let kind = CommitKind::Route { owners: vec![Owner::Dhcp], stale: Vec::new() };
    assert_eq!(commits[0].kind, kind);
    let again = lab.done(&json!([{ "withdraw": { "owner": "dhcp" } }]));
    assert!(again.changes.is_empty() && again.generation == applied.generation);
}

#[test]
fn a_change_names_what_it_expects_and_a_conflict_says_what_is_there() {
    let lab = lab();
    lab.done(&json!([set("10.9.0.0/16", "dhcp")]));
    let replace = |generation: u64| {
        json!([{ "set": { "to": "10.9.0.0/16", "blackhole": true, "owner": "dhcp",
                          "expect": { "generation": generation } } }])
    };
    let failure = lab.fails(409, &replace(1));
    let conflict = &failure.conflicts[0];
    assert_eq!((&*conflict.at, &*conflict.expected), ("operations[0]", "dhcp's of generation 1"));
    let owners: Vec<_> = conflict.present.iter().map(|r| (r.owner.name(), r.generation)).collect();
    assert_eq!(owners, [("dhcp", 2), ("static", 1)]);
    assert!(conflict.present[0].active);
    assert_eq!(
        failure.error,
        "operations[0]: 10.9.0.0/16: dhcp's of generation 1 was expected, there is dhcp's of \
         generation 2; static's of generation 1, not in use; nothing changed"
    );
    assert_eq!(lab.done(&replace(2)).generation, 3);
    lab.fails(409, &replace(2));

    let path = "/v1/routes?to=10.9.0.0/16&owner=dhcp";
    let failure = lab.control.fails(409, "DELETE", &format!("{path}&if_generation=2"), "");
    assert_eq!((&*failure.conflicts[0].at, failure.conflicts[0].present.len()), ("", 2));
    lab.control.fails(409, "DELETE", &format!("{path}&if_owner=static"), "");
    let _: Applied = lab.control.done("DELETE", &format!("{path}&if_owner=dhcp"), "");
    let failure = lab.control.fails(409, "DELETE", &format!("{path}&if_generation=3"), "");
    assert_eq!(failure.conflicts[0].present.len(), 1, "gone, and what is below is there");

    let absent = json!({ "to": "10.9.0.0/16", "blackhole": true, "expect": { "absent": true } });
    let _: Applied = lab.control.done("POST", "/v1/routes", &absent.to_string());
    let failure = lab.control.fails(409, "POST", "/v1/routes", &absent.to_string());
    assert_eq!(failure.conflicts[0].expected, "no route of cli");
}

#[test]
fn expectations_stand_for_themselves_and_all_hold_or_nothing_happens() {
    let lab = lab();
    let expect = |what: Value| {
        let mut fields = json!({ "prefix": "10.9.0.0/16" });
        fields.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
        json!({ "expect": fields })
    };
    let new = set("10.7.0.0/16", "dhcp");
    for (holds, what) in [
        (true, json!({ "owner": "static" })),
        (true, json!({ "generation": 1 })),
        (true, json!({ "generation": 1, "of": "static" })),
        (true, json!({ "absent": true, "of": "dhcp" })),
        (true, json!({ "prefix": "10.7.0.0/16", "absent": true })),
        (true, json!({ "prefix": "10.0.1.0/24", "owner": "connected" })),
        (false, json!({ "owner": "dhcp" })),
        (false, json!({ "generation": 2 })),
        (false, json!({ "generation": 1, "of": "dhcp" })),
        (false, json!({ "absent": true })),
        (false, json!({ "prefix": "10.0.1.0/24", "absent": true })),
    ] {
        if holds {
            let dry = json!({ "operations": [new, expect(what.clone())] }).to_string();
            let applied: Applied = lab.control.done("POST", "/v1/transaction?dry_run=true", &dry);
            assert_eq!(applied.changes.routes.added, 1, "{what}");
        } else {
            let failure = lab.fails(409, &json!([new, expect(what.clone())]));
            assert_eq!(failure.conflicts[0].at, "operations[1]", "{what}");
        }
    }
    let failure = lab.fails(
        409,
        &json!([expect(json!({ "owner": "bgp" })), new, expect(json!({ "absent": true }))]),
    );
    let places: Vec<_> = failure.conflicts.iter().map(|conflict| &*conflict.at).collect();
    assert_eq!(places, ["operations[0]", "operations[2]"]);
    assert_eq!(failure.error, "2 times: something else is there than expected; nothing changed");
    assert_eq!(failure.details.len(), 2);
    assert!(lab.at("10.7.0.0/16").is_empty());
}

#[test]
fn what_is_stale_stays_until_it_is_swept_also_across_restarts() {
    let mut lab = lab();
    let prefixes = ["10.6.0.0/16", "10.7.0.0/16", "10.8.0.0/16"];
    lab.done(&json!(prefixes.map(|prefix| set(prefix, "bgp"))));
    let failure = lab.fails(409, &json!([{ "sweep": { "owner": "bgp" } }]));
    assert!(failure.error.contains("bgp is not marked stale"), "{failure}");

    let applied = lab.done(&json!([{ "stale": { "owner": "bgp" } }]));
    assert_eq!(applied.generation, 3);
    assert!(applied.notes[0].contains("3 routes of bgp are stale"), "{:?}", applied.notes);
    assert_eq!(lab.at("10.6.0.0/16"), ["bgp 2*?"]);
    let commits: Vec<Commit> = lab.control.get("/v1/commits");
    let kind = CommitKind::Route { owners: Vec::new(), stale: vec![Owner::Bgp] };
    assert_eq!(commits[0].kind, kind);

    // Set again as it was, set again otherwise, and not at all.
    lab.done(&json!([set("10.6.0.0/16", "bgp"), blackhole("10.7.0.0/16", "bgp")]));
    assert_eq!(lab.dataplane.generation(), 4);
    lab.control.kill();
    drop(lab.dataplane);
    let dataplane = FakeDataplane::start(lab.directory.path());
    lab.dataplane = dataplane;
    lab.control = Control::start(lab.directory.path(), &[]);
    assert_eq!(lab.control.committed(), 4);
    let all = || prefixes.map(|prefix| lab.at(prefix).join(""));
    assert_eq!(all(), ["bgp 4*", "bgp 4*", "bgp 2*?"]);

    let applied = lab.done(&json!([{ "sweep": { "owner": "bgp" } }]));
    assert_eq!(applied.changes.to_string(), "-1 route");
    assert_eq!(all(), ["bgp 4*", "bgp 4*", ""]);
    lab.fails(409, &json!([{ "sweep": { "owner": "bgp" } }]));
}

#[test]
fn an_owner_is_replaced_as_a_whole() {
    let lab = lab();
    lab.done(&json!([set("10.6.0.0/16", "bgp"), set("10.7.0.0/16", "bgp")]));
    let applied = lab.done(&json!([
        { "withdraw": { "owner": "bgp" } },
        set("10.7.0.0/16", "bgp"),
        set("10.8.0.0/16", "bgp"),
    ]));
    assert_eq!(applied.changes.to_string(), "+1 route, -1 route");
    assert_eq!(lab.at("10.7.0.0/16"), ["bgp 2*"], "what stays is not touched");
}

#[test]
fn a_mark_is_undone_with_what_is_rolled_back() {
    let lab = lab();
    lab.done(&json!([set("10.6.0.0/16", "bgp")]));
    lab.done(&json!([{ "stale": { "owner": "bgp" } }]));
    let _: Applied = lab.control.done("POST", "/v1/rollback?generation=2", "");
    assert_eq!(lab.at("10.6.0.0/16"), ["bgp 2*"]);
    let _: Applied = lab.control.done("POST", "/v1/rollback?generation=3", "");
    assert_eq!(lab.at("10.6.0.0/16"), ["bgp 2*?"]);
    lab.done(&json!([{ "withdraw": { "owner": "bgp" } }]));
    lab.done(&json!([set("10.6.0.0/16", "bgp")]));
    assert_eq!(lab.at("10.6.0.0/16"), ["bgp 7*"], "a mark ends with what was marked");
}

#[test]
fn what_makes_no_sense_is_told_with_its_place() {
    let lab = lab();
    let route = |fields: Value| {
        let mut route = json!({ "to": "10.7.0.0/16", "via": "10.0.2.2", "owner": "dhcp" });
        route.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({ "set": route })
    };
    for (operation, says) in [
        (route(json!({ "to": "10.7.0.1/16" })), "operations[1].set.to: 10.7.0.1/16 has bits set"),
        (route(json!({ "blackhole": true })), "operations[1].set.via: give 10.7.0.0/16 exactly"),
        (route(json!({ "owner": "static" })), "operations[1].set.owner: routes of owner `static`"),
        (route(json!({ "owner": "connected" })), "operations[1].set.owner: routes of owner"),
        (route(json!({ "owner": "a b" })), "operations[1].set.owner: `a b` is no owner"),
        (route(json!({ "metric": -1 })), "operations[1].set.metric: invalid value"),
        (route(json!({ "preference": 4_294_967_296_u64 })), "operations[1].set.preference"),
        (route(json!({ "colour": 1 })), "unknown field `colour`"),
        (route(json!({ "expect": {} })), "operations[1].set.expect: give exactly one"),
        (
            route(json!({ "expect": { "absent": true, "generation": 1 } })),
            "operations[1].set.expect: give exactly one",
        ),
        (json!({ "set": { "to": "10.7.0.0/33" } }), "operations[1].set.to: invalid IP address"),
        (json!({ "drop": {} }), "unknown variant `drop`"),
        (set("10.5.0.0/16", "dhcp"), "operations[1]: dhcp's route to 10.5.0.0/16 is there already"),
        (json!({ "stale": { "owner": "static" } }), "operations[1].stale.owner: routes of owner"),
        (
            json!({ "expect": { "prefix": "10.7.0.0/16", "of": "dhcp", "owner": "dhcp" } }),
            "operations[1].expect.of: `owner` is about the route in use",
        ),
        (
            json!({ "expect": { "prefix": "10.7.0.0/16", "instance": "blue", "absent": true } }),
            "operations[1]: there is no instance `blue`; there are: default",
        ),
        (
            json!({ "withdraw": { "owner": "dhcp", "instance": "blue" } }),
            "operations[1]: there is no instance `blue`",
        ),
        // What only the policy as a whole knows.
        (route(json!({ "instance": "blue" })), "operations[1]: route 10.7.0.0/16 of instance blue"),
        (route(json!({ "table": "isp-a" })), "instance default has no table `isp-a`"),
        (
            route(json!({ "via": "10.0.77.1", "owner": "cli" })),
            "next hop 10.0.77.1 is in nobody's network",
        ),
        (route(json!({ "to": "224.0.0.0/8" })), "224.0.0.0/8 is not routed"),
        (route(json!({ "via": { "address": "10.0.2.2", "weight": 257 } })), "weight 257"),
    ] {
        let failure = lab.fails(400, &json!([set("10.5.0.0/16", "dhcp"), operation]));
        let text = failure.to_string();
        assert!(text.contains(says), "{operation}: {text}");
    }
    let failure = lab.fails(404, &json!([{ "delete": { "to": "10.9.0.0/16" } }]));
    assert!(failure.error.starts_with("operations[0]: there is no cli route"), "{failure}");
    let both = json!([{ "stale": { "owner": "bgp" } }, { "sweep": { "owner": "bgp" } }]);
    let failure = lab.fails(400, &both);
    assert!(failure.error.contains("one of these in a transaction"), "{failure}");

    let many: Vec<_> = (0..100).map(|i| set(&format!("10.{i}.0.1/16"), "dhcp")).collect();
    let failure = lab.fails(400, &json!(many));
    assert_eq!(failure.details.len(), 65);
    assert_eq!(failure.details[64], "and 36 more");
    let unreachable = |i| json!({ "set": { "to": format!("10.{i}.0.0/16"), "via": "10.0.77.1" } });
    let failure = lab.fails(400, &json!((0..100).map(unreachable).collect::<Vec<_>>()));
    assert_eq!(failure.details.last().unwrap(), "and 36 more");
    let too_many = vec![set("10.7.0.0/16", "dhcp"); 65_537];
    let failure = lab.fails(400, &json!(too_many));
    assert!(failure.error.contains("there are 65537, at most 65536"), "{failure}");
}

#[test]
fn a_transaction_without_a_dataplane_or_a_disk_changes_nothing() {
    let lab = lab();
    lab.dataplane.behaviour().refuse = vec!["no".into()];
    lab.fails(409, &json!([set("10.7.0.0/16", "dhcp")]));
    lab.dataplane.behaviour().refuse.clear();
    drop(lab.dataplane);
    let body = json!({ "operations": [set("10.7.0.0/16", "dhcp")] }).to_string();
    lab.control.fails(503, "POST", "/v1/transaction", &body);
    let commits: Vec<Commit> = lab.control.get("/v1/commits");
    assert_eq!(commits[0].generation, 1);
}
