//! Connections: shown in pages and in order, ended, and compared by two policies.

mod common;

use common::configuration;
use common::control::Control;
use common::fake::FakeDataplane;
use serde_json::{Value, json};
use sluice_channel::{FlowDirection, FlowPath, FlowPlace, FlowState, FlowStatus, FlowTuple};
use sluice_control_api::{Explained, Flow, FlowKnown, Flows, FlowsKilled, LiveFlowChanges};

const RULES: &str = "filters:\n  forward:\n    rules:\n      - { name: no-telnet, protocol: tcp, \
                     destination-port: 23, action: drop }\n";

fn connection(worker: u16, slot: u32, port: u16, bytes: u64) -> FlowStatus {
    let path = |ingress: &str, egress: &str| {
        let (ingress, egress) = (Some(ingress.into()), egress.into());
        Some(FlowPath { ingress, egress, next_hop: None, rules: vec!["default".into()] })
    };
    FlowStatus {
        place: FlowPlace { worker, slot },
        instance: "default".into(),
        tuple: FlowTuple {
            source: [10, 0, 1, slot as u8].into(),
            destination: [10, 0, 2, 2].into(),
            protocol: 6,
            source_port: 40_000,
            destination_port: port,
            icmp_type: 0,
        },
        state: FlowState::Established,
        age_ms: 5000 - u64::from(slot),
        idle_ms: 100 * u64::from(slot),
        expires_ms: 7_440_000,
        original: FlowDirection { packets: 2, bytes, way: path("lan", "wan") },
        reply: FlowDirection { packets: 1, bytes: 40, way: path("wan", "lan") },
    }
}

fn start(directory: &std::path::Path) -> (FakeDataplane, Control) {
    let dataplane = FakeDataplane::start(directory);
    let control = Control::with_config(directory, &configuration(RULES), &[]);
    control.committed();
    dataplane.behaviour().flows = vec![
        connection(0, 3, 80, 300),
        connection(0, 7, 443, 900),
        connection(0, 8, 80, 100),
        connection(1, 2, 443, 500),
        connection(1, 5, 22, 700),
    ];
    (dataplane, control)
}

fn ports(flows: &[Flow]) -> Vec<(u16, u64)> {
    flows.iter().map(|flow| (flow.destination_port, flow.original.bytes)).collect()
}

#[test]
fn pages_are_put_together_filtered_and_sorted() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    for page in [1, 2, 5, 100] {
        dataplane.behaviour().page = page;
        let all: Flows = control.get("/v1/flows");
        assert_eq!((all.flows.len(), all.matching, all.complete), (5, 5, true));
        let way = all.flows[0].original.way.as_ref().unwrap();
        assert_eq!((&*way.egress, way.ingress.as_deref()), ("wan", Some("lan")));
        let two: Flows = control.get("/v1/flows?sort=bytes&limit=2");
        assert_eq!((ports(&two.flows), two.matching), (vec![(443, 900), (22, 700)], 5));
        let oldest: Flows = control.get("/v1/flows?sort=age&limit=1");
        assert_eq!(oldest.flows[0].age_ms, 4998);
        let silent: Flows = control.get("/v1/flows?sort=idle&limit=1");
        assert_eq!(silent.flows[0].idle_ms, 800);
        let web: Flows = control.get("/v1/flows?port=443&proto=6&state=established");
        assert_eq!(ports(&web.flows), [(443, 900), (443, 500)]);
        let one: Flows = control.get("/v1/flows?src=10.0.1.8/32&instance=default");
        assert_eq!(ports(&one.flows), [(80, 100)]);
        let none: Flows = control.get("/v1/flows?dst=10.0.1.0/24");
        assert_eq!((none.flows.len(), none.matching), (0, 0));
    }
    control.fails(400, "GET", "/v1/flows?instance=blue", "");
    control.fails(400, "GET", "/v1/flows?state=asleep", "");
    control.fails(400, "GET", "/v1/flows?sport=80", "");
}

#[test]
fn a_rate_is_taken_over_a_second() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let idle: Flows = control.get("/v1/flows?sort=rate&limit=1");
    assert_eq!(idle.flows[0].rate.unwrap().bits_per_second, 0);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let busiest: Flows = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                dataplane.behaviour().flows[2].original.bytes += 10;
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        let answer = control.get("/v1/flows?sort=rate&limit=1");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        answer
    });
    assert_eq!(busiest.flows[0].source.to_string(), "10.0.1.8");
    assert!(busiest.flows[0].rate.unwrap().bits_per_second > 0);
    assert_eq!(busiest.matching, 5);
}

#[test]
fn only_what_is_named_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let failure = control.fails(400, "DELETE", "/v1/flows", "");
    assert!(failure.error.contains("all=true"), "{failure:?}");
    assert_eq!(dataplane.behaviour().flows.len(), 5);
    let killed: FlowsKilled = control.done("DELETE", "/v1/flows?port=443", "");
    assert_eq!((killed.killed, killed.complete), (2, true));
    assert_eq!(dataplane.behaviour().flows.len(), 3);
    let killed: FlowsKilled = control.done("DELETE", "/v1/flows?all=true", "");
    assert_eq!(killed.killed, 3);
    let killed: FlowsKilled = control.done("DELETE", "/v1/flows?all=true", "");
    assert_eq!(killed.killed, 0);
}

#[test]
fn a_candidate_is_held_against_what_runs() {
    let directory = tempfile::tempdir().unwrap();
    let (_dataplane, control) = start(directory.path());
    let compare = |yaml: &str| -> LiveFlowChanges {
        let candidate = json!({ "file": "new.yaml", "yaml": configuration(yaml) });
        control.done("POST", "/v1/flows/compare", &json!({ "candidate": candidate }).to_string())
    };
    let same = compare(RULES);
    assert_eq!((same.compared, same.changed, same.complete), (5, 0, true));
    let changes = compare(&RULES.replace("23", "443"));
    assert_eq!((changes.compared, changes.changed), (5, 2));
    let after: Value = serde_json::to_value(&changes.changes[0].after).unwrap();
    assert_eq!(
        (after["verdict"].as_str(), after["rule"].as_str()),
        (Some("drop"), Some("no-telnet"))
    );
    assert_eq!(changes.changes[0].flow.destination_port, 443);
    assert!(changes.changes.iter().all(|change| !change.reply));
    // What comes back is a direction of its own.
    let back = RULES.replace("destination-port: 23", "source-port: 22");
    let changes = compare(&back);
    assert_eq!((changes.changed, changes.changes[0].reply), (1, true));
}

#[test]
fn a_packet_of_a_connection_is_explained_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let (_dataplane, control) = start(directory.path());
    let explain = |port: u16| -> Explained {
        let query = json!({ "src": "10.0.1.3", "dst": "10.0.2.2", "protocol": 6,
                            "src_port": 40000, "dst_port": port, "tcp_flags": 16 });
        control.done("POST", "/v1/explain", &query.to_string())
    };
    let known = explain(80);
    assert_eq!(known.flow_state, FlowKnown::There);
    let step = known.explanation.way.steps.iter().find(|step| &*step.stage == "flow").unwrap();
    assert!(step.text.starts_with("established: the dataplane has its connection"), "{step:?}");
    assert_eq!(known.flow.unwrap().original.bytes, 300);
    let unknown = explain(81);
    assert_eq!((unknown.flow_state, unknown.flow), (FlowKnown::NotThere, None));
}
