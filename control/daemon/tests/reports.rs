//! What is shown: every path answers with its type, and says what the dataplane has.

mod common;

use std::process::Command;

use common::configuration;
use common::control::Control;
use common::fake::{FakeDataplane, hook_status};
use serde_json::Value;
use sluice_channel::{HookOrigin, HookStatus};
use sluice_control_api::{
    Basis, Config, DropCount, Explained, Interface, Neighbour, Pipeline, Port, Rule, Runtime,
    Stats, Work, Worker,
};
use sluice_policy::explain::Verdict;
use sluice_policy::model::FilterPoint;
use sluice_policy::order::{ForeignHook, Hint};
use sluice_policy::{DropReason, Event, PortId, Protocol, Stage};

const RULES: &str = "filters:\n  forward:\n    default: accept\n    rules:\n      - { name: no-http, \
                     protocol: tcp, destination-port: 80, action: drop }\n      - { name: seen, \
                     action: count }\n";

fn start(directory: &std::path::Path) -> (FakeDataplane, Control) {
    let dataplane = FakeDataplane::start(directory);
    let control = Control::with_config(directory, &configuration(RULES), &[]);
    control.committed();
    (dataplane, control)
}

#[test]
fn things_are_listed() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let ports: Vec<Port> = control.get("/v1/ports");
    assert_eq!((&*ports[0].name, ports[0].driver.as_str()), ("lan", "net_null"));
    let interfaces: Vec<Interface> = control.get("/v1/interfaces");
    assert_eq!((interfaces.len(), interfaces[0].addresses.len()), (2, 2));
    assert!(interfaces[0].checksum.is_some());
    let neighbours: Vec<Neighbour> = control.get("/v1/neighbours");
    assert_eq!(neighbours[0].state, "reachable");
    let workers: Vec<Worker> = control.get("/v1/workers");
    assert_eq!(workers[0].queues.len(), 2);
    let config: Config = control.get("/v1/config");
    assert_eq!((config.generation, config.filters[0].filter.rules.len()), (1, 2));
    let schema: Value = control.get("/v1/schema");
    assert!(schema["properties"]["ports"].is_object());

    let _: Value = control.done("POST", "/v1/neighbours/flush", "{}");
    let _: Value = control.done("POST", "/v1/neighbours/flush", r#"{"interface":"wan"}"#);
    assert_eq!(dataplane.behaviour().flushed, 2);
    let failure = control.fails(409, "POST", "/v1/neighbours/flush", r#"{"interface":"x"}"#);
    assert_eq!(failure.details, ["there is no such interface"]);
}

#[test]
fn what_the_workers_time_goes_into_is_told_since_the_start_and_over_an_interval() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let hook = ForeignHook {
        instance: None,
        protocols: vec![Protocol::Inet],
        event: Event::Forwarding,
        name: "mine".into(),
        hint: Hint::None,
    };
    let status = hook_status(hook, HookOrigin::Module("tour".into()));
    dataplane.behaviour().hooks.hooks.push(HookStatus { slot: Some(5), ..status });
    dataplane.statistics.agent().hertz.set(1_000_000);
    for block in dataplane.statistics.blocks() {
        block.core().busy_cycles.add(5000);
        let counters = block.stage(Stage::Decode);
        counters.bursts.add(10);
        counters.packets.add(320);
        counters.cycles.add(3200);
        block.hook(5).bursts.add(10);
        block.hook(5).packets.add(160);
    }
    let workers = dataplane.statistics.blocks().count() as u64;
    let runtime: Runtime = control.get("/v1/runtime");
    assert_eq!(runtime.total.work, Work::new(10 * workers, 320 * workers, 5000 * workers));
    assert_eq!(runtime.workers.len() as u64, workers);
    let names: Vec<&str> = runtime.total.places.iter().map(|place| &*place.name).collect();
    let place = |name: &str| names.iter().position(|known| *known == name).unwrap();
    assert!(place("mtu") < place("mine") && place("mine") < place("egress-filter"), "{names:?}");
    let mine = &runtime.workers[0].places[place("mine")];
    assert_eq!((mine.work, mine.event), (Work::new(10, 160, 0), Some(Event::Forwarding)));
    let quiet: Runtime = control.get("/v1/runtime?interval=0.1");
    assert!(quiet.seconds >= 0.1 && quiet.seconds < 60.0, "{}", quiet.seconds);
    assert_eq!((quiet.total.work, quiet.total.load_percent), (Work::default(), 0.0));
    for wrong in ["0", "61", "NaN", "soon"] {
        control.fails(400, "GET", &format!("/v1/runtime?interval={wrong}"), "");
    }
}

#[test]
fn counters_are_sums_over_workers_and_drops_name_their_rule() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    for worker in dataplane.statistics.blocks() {
        worker.core().rx.add(10);
        worker.core().tx.add(7);
        worker.core().dropped.add(3);
        worker.flows().in_use.set(4);
        worker.drops()[DropReason::ForwardFilter.index()].add(3);
        worker.port(PortId(0)).rx_packets.add(10);
        worker.stage(Stage::Route).bursts.add(1);
        worker.stage(Stage::Route).packets.add(10);
        worker.stage(Stage::Route).cycles.add(400);
    }
    dataplane.statistics.port_gauges(PortId(0)).kernel_drops.set(5);

    let stats: Stats = control.get("/v1/stats");
    assert_eq!((stats.total.rx, stats.total.dropped, stats.total.balanced), (20, 6, true));
    assert_eq!(stats.workers.len(), 2);
    assert_eq!((stats.workers[1].flows.in_use, stats.workers[1].flows.full), (4, 0));
    assert_eq!((stats.ports[0].rx_packets, stats.ports[0].kernel_drops), (20, 5));

    let rules: Vec<Rule> = control.get("/v1/rules");
    let names: Vec<_> = rules.iter().map(|rule| &*rule.name).collect();
    assert_eq!(names, ["no-http", "seen", "default"]);
    assert!(rules.iter().all(|rule| rule.packets >= 100), "from the dataplane's answer");

    let drops: Vec<DropCount> = control.get("/v1/drops");
    assert_eq!(drops.len(), 1, "those that happened");
    assert_eq!((drops[0].reason.as_str(), drops[0].packets), ("forward-filter", 6));
    let by: Vec<_> = drops[0].rules.iter().map(|rule| (&*rule.name, rule.point)).collect();
    assert_eq!(by, [("no-http", FilterPoint::Forward)], "counting and accepting drop nothing");
    assert!(drops[0].rules[0].position.as_ref().unwrap().file.ends_with("router.yaml"));
    let all: Vec<DropCount> = control.get("/v1/drops?all=true");
    assert_eq!(all.len(), DropReason::ALL.len());

    let pipeline: Pipeline = control.get("/v1/pipeline");
    assert_eq!(&*pipeline.instances[0].instance, "default");
    assert_eq!(pipeline.instances[0].interfaces.len(), 2);
    let route = pipeline.stages.iter().find(|stage| stage.stage == Stage::Route).unwrap();
    assert_eq!((route.packets, route.cycles_per_packet), (20, Some(40)));

    dataplane.statistics.worker(0).core().rx.add(1);
    let stats: Stats = control.get("/v1/stats");
    assert_eq!((stats.total.difference, stats.total.balanced), (1, false));
}

/// Fault 25: counters that have come round are counters, in the process that sums them, too.
#[test]
fn f25_counters_wrap() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    for worker in dataplane.statistics.blocks() {
        for _ in 0..2 {
            worker.core().rx.add(u64::MAX - 1);
            worker.core().dropped.add(u64::MAX - 1);
            worker.drops()[DropReason::NoRoute.index()].add(u64::MAX - 1);
            worker.port(PortId(0)).rx_packets.add(u64::MAX - 1);
            worker.stage(Stage::Route).packets.add(u64::MAX - 1);
            worker.stage(Stage::Route).cycles.add(u64::MAX - 1);
        }
    }
    let stats: Stats = control.get("/v1/stats");
    assert!(stats.total.balanced, "{:?}", stats.total);
    let workers = dataplane.statistics.blocks().count() as u64;
    assert_eq!(stats.total.rx, 0u64.wrapping_sub(4 * workers));
    let drops: Vec<DropCount> = control.get("/v1/drops");
    assert_eq!(drops[0].packets, 0u64.wrapping_sub(4 * workers));
    let _: Pipeline = control.get("/v1/pipeline");
    let _: Vec<Rule> = control.get("/v1/rules");
}

#[test]
fn a_packet_is_explained_with_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let http = r#"{"input":"lan","src":"10.0.1.2","dst":"10.0.2.2","protocol":6,"dst_port":80}"#;
    let explained: Explained = control.done("POST", "/v1/explain", http);
    let explanation = &explained.explanation;
    assert_eq!(explanation.generation, 1);
    assert_eq!(explanation.way.verdict, Verdict::Drop { reason: "forward-filter".into() });
    assert_eq!(explanation.way.rule.as_ref().unwrap().name, "no-http");

    let smtp = http.replace(":80}", ":25}");
    let explained: Explained = control.done("POST", "/v1/explain", &smtp);
    assert_eq!(explained.explanation.way.verdict, Verdict::Accept);
    assert_eq!(explained.explanation.way.next_hop_state.unwrap().state, "reachable");
    let egress = explained.explanation.way.egress_state.unwrap();
    assert_eq!((&*egress.port, egress.link), ("wan", true));

    // The dataplane has a hook of which only it knows what it does.
    let meter = ForeignHook {
        instance: None,
        protocols: vec![Protocol::Inet],
        event: Event::PhysicalIn,
        name: "meter".into(),
        hint: Hint::First,
    };
    dataplane.behaviour().hooks.hooks =
        vec![hook_status(meter, HookOrigin::Module("metering".into()))];
    let explained: Explained = control.done("POST", "/v1/explain", &smtp);
    let otherwise = Box::new(Verdict::Accept);
    assert_eq!(
        explained.explanation.way.verdict,
        Verdict::Unknown { hook: "meter".into(), otherwise }
    );
    dataplane.behaviour().hooks.hooks.clear();

    // The same of a file that is not applied: it has no filter.
    let yaml = "ports:\\n  lan: { device: net_null0, addresses: [10.0.1.1/24] }\\n";
    let candidate = format!(r#"{{"query":{http},"yaml":"{yaml}"}}"#);
    let path = "/v1/explain/candidate?file=new.yaml";
    let explained: Explained = control.done("POST", path, &candidate);
    assert_eq!(explained.basis, Basis::Candidate);
    assert_eq!(
        explained.explanation.way.verdict,
        Verdict::Reject { reason: "no-route".into() },
        "{}",
        explained.explanation
    );
    let wrong = candidate.replace("device", "divice");
    let failure = control.fails(400, "POST", path, &wrong);
    assert!(failure.details[0].contains("new.yaml:2"), "{failure:?}");
    let explained: Explained = control.done("POST", "/v1/explain", http);
    assert_eq!(explained.basis, Basis::Live);

    let failure = control.fails(400, "POST", "/v1/explain", &http.replace("lan", "nowhere"));
    assert!(failure.error.contains("nowhere") && failure.error.contains("wan"), "{failure}");
}

#[test]
fn curl_is_enough() {
    let directory = tempfile::tempdir().unwrap();
    let (_dataplane, control) = start(directory.path());
    let file = directory.path().join("router.yaml");
    let curl = |args: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--unix-socket"]).arg(control.socket()).args(args);
        curl.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let Ok(status) = curl(&["http://sluice/v1/status"]) else {
        eprintln!("there is no curl here");
        return;
    };
    assert!(status.contains(r#""state":"committed","generation":1"#), "{status}");
    let upload = format!("@{}", file.display());
    let url = "http://sluice/v1/apply?file=router.yaml";
    let applied = curl(&["--data-binary", &upload, url]).unwrap();
    assert!(applied.contains(r#""generation":"#), "{applied}");
    let route = r#"{"to":"10.9.0.0/16","reject":true}"#;
    let added = curl(&["-d", route, "http://sluice/v1/routes"]).unwrap();
    assert!(added.contains(r#""added":1"#), "{added}");
    let gone = curl(&["-X", "DELETE", "http://sluice/v1/routes?to=10.9.0.0/16"]).unwrap();
    assert!(gone.contains(r#""removed":1"#), "{gone}");
}

#[test]
fn the_socket_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let control = Control::start(directory.path(), &[]);
    let mode = std::fs::metadata(control.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
