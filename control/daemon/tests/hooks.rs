//! Hooks as the control process has them: loaded and unloaded live, layered with those of the file,
//! kept over restarts, brought back.

mod common;

use std::path::Path;

use common::configuration;
use common::control::Control;
use common::fake::{FakeDataplane, hook_status};
use serde_json::Value;
use sluice_channel::{HookOrigin, HookState, HookStatus, ProgramStatus};
use sluice_control_api::{
    Applied, Commit, CommitKind, Config, Diff, Explained, HookProgram, Hooks, Origin, Pipeline,
};
use sluice_policy::explain::Verdict;
use sluice_policy::model::Owner;
use sluice_policy::order::{ForeignHook, Hint};
use sluice_policy::{Event, Protocol};

const OF_FILE: &str = "hooks:\n  marker: { program: dscp-mark, event: physical-in }\n";
const METER: &str = r#"{"program":"hundredth","event":"physical-in","settings":{"every":50}}"#;

fn start(directory: &Path) -> (FakeDataplane, Control) {
    let dataplane = FakeDataplane::start(directory);
    let control = Control::with_config(directory, &configuration(OF_FILE), &[]);
    control.committed();
    (dataplane, control)
}

/// What stands at an event of the default instance for IPv4.
fn order(control: &Control, event: &str) -> Vec<String> {
    let hooks: Hooks = control.get(&format!("/v1/hooks?instance=default&event={event}"));
    let order = hooks.orders.into_iter().find(|order| order.protocols.contains(&Protocol::Inet));
    let places = order.map(|order| order.places).unwrap_or_default();
    places.iter().map(|place| place.name.to_string()).collect()
}

#[test]
fn a_hook_is_loaded_listed_and_unloaded() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    assert_eq!(order(&control, "physical-in"), ["flow", "ingress-filter", "marker"]);
    let early = METER.replace(r#""settings""#, r#""order":{"after":"ingress-filter"},"settings""#);
    let applied: Applied = control.done("POST", "/v1/hooks?message=try", &early);
    assert_eq!((applied.generation, applied.changes.to_string()), (2, "+1 hook".to_owned()));
    assert_eq!(order(&control, "physical-in"), ["flow", "ingress-filter", "hundredth", "marker"]);
    assert_eq!(dataplane.state().hooks["hundredth"].settings["every"], "50");
    let commits: Vec<Commit> = control.get("/v1/commits");
    let kind = |loaded| CommitKind::Hook { name: "hundredth".into(), loaded };
    assert_eq!((&commits[0].kind, commits[0].message.as_deref()), (&kind(true), Some("try")));

    let hooks: Hooks = control.get("/v1/hooks");
    let of = |name: &str| hooks.hooks.iter().find(|hook| &*hook.name == name).unwrap();
    assert_eq!(of("hundredth").origin, Origin::Loaded(Owner::Cli));
    assert_eq!(
        (&of("hundredth").order, of("hundredth").generation),
        (&Hint::After("ingress-filter".into()), 2)
    );
    assert_eq!(of("marker").origin, Origin::Loaded(Owner::Static));
    assert_eq!(of("marker").program.as_deref(), Some("dscp-mark"));
    assert_eq!(of("marker").cycles_per_packet, Some(10));
    let place = &hooks.orders[0].places;
    assert_eq!((&place[0].origin, place[0].position, place[2].position), (&Origin::Stage, 1, 3));
    let pipeline: Pipeline = control.get("/v1/pipeline");
    let drawn = &pipeline.instances[0].events[0];
    assert_eq!((drawn.event, drawn.order.len(), pipeline.hooks.len()), (Event::PhysicalIn, 4, 2));
    assert!(control.get::<Config>("/v1/config").hooks.contains_key("hundredth"));

    // The same once more is no change; another one of the name is.
    let applied: Applied = control.done("POST", "/v1/hooks", &early);
    assert_eq!((applied.generation, applied.changes.is_empty()), (2, true));
    let failure = control.fails(409, "POST", "/v1/hooks", METER);
    assert!(failure.error.contains("loaded already (program hundredth, by cli)"), "{failure}");

    let applied: Applied = control.done("DELETE", "/v1/hooks?name=hundredth", "");
    assert_eq!((applied.generation, applied.changes.to_string()), (3, "-1 hook".to_owned()));
    assert_eq!(control.get::<Vec<Commit>>("/v1/commits")[0].kind, kind(false));
    assert_eq!(order(&control, "physical-in"), ["flow", "ingress-filter", "marker"]);
    let failure = control.fails(404, "DELETE", "/v1/hooks?name=hundredth", "");
    assert_eq!(failure.error, "no hook is loaded as `hundredth`; there are: marker");
    let failure = control.fails(409, "DELETE", "/v1/hooks?name=marker", "");
    assert!(failure.error.contains("of the configuration file"), "{failure}");
}

#[test]
fn a_refused_hook_leaves_the_others_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let _: Applied = control.done("POST", "/v1/hooks", METER);
    let before = dataplane.state();
    let load = |name: &str, rest: &str| {
        format!(r#"{{"name":"{name}","program":"hundredth","event":"physical-in"{rest}}}"#)
    };
    for (hook, says) in [
        (load("mtu", ""), "`mtu` is a stage"),
        (load("a.b", ""), "`a.b` is not a name"),
        (load("a", r#","instance":"red""#), "there is no instance `red`; there are: default"),
        (load("a", r#","order":{"before":"a"}"#), "cannot stand against itself"),
        (
            load("a", r#","protocols":["arp"]"#).replace("physical-in", "forwarding"),
            "protocol arp has no event FORWARDING",
        ),
    ] {
        let failure = control.fails(400, "POST", "/v1/hooks", &hook);
        assert!(failure.details[0].contains(says), "{hook}: {failure}");
        assert!(failure.details[0].starts_with("cli: hook "), "{failure}");
    }
    let _: Applied = control.done("POST", "/v1/hooks", &load("top", r#","order":"first""#));
    let failure =
        control.fails(400, "POST", "/v1/hooks", &load("b", r#","order":{"before":"top"}"#));
    assert!(failure.details[0].contains("contradict"), "{failure}");
    let _: Applied = control.done("DELETE", "/v1/hooks?name=top", "");
    let applied: Applied =
        control.done("POST", "/v1/hooks?dry_run=true", &load("b", r#","order":{"after":"ghost"}"#));
    assert!(applied.notes[0].contains("is named `ghost`"), "{:?}", applied.notes);
    // What only the dataplane knows, it says.
    dataplane.behaviour().refuse = vec!["cli: hook `a`: no program is named `hundredth`".into()];
    let failure = control.fails(409, "POST", "/v1/hooks", &load("a", ""));
    assert!(failure.details[0].contains("no program is named"), "{failure}");
    dataplane.behaviour().refuse.clear();
    assert_eq!(dataplane.state(), before);
    let failure = control.fails(400, "GET", "/v1/hooks?instance=red", "");
    assert!(failure.error.contains("there is no instance `red`"), "{failure}");
}

#[test]
fn a_file_leaves_live_hooks_and_takes_over_those_that_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let live = METER.replacen('{', r#"{"name":"meter","#, 1);
    let _: Applied = control.done("POST", "/v1/hooks", &live);
    let _: Applied = control.done("POST", "/v1/hooks", METER);
    let file = format!(
        "{}\n  meter: {{ program: hundredth, event: physical-in, settings: {{ every: 50 }} }}\n",
        OF_FILE.trim_end()
    );
    let applied: Applied = control.done("POST", "/v1/apply?file=next.yaml", &configuration(&file));
    assert_eq!(applied.changes.to_string(), "~1 hook");
    let note = "hook meter, which was loaded live, is the file's from now on";
    assert!(applied.notes.iter().any(|told| told == note), "{:?}", applied.notes);
    // Nobody moved, and none need be made anew.
    assert_eq!(
        order(&control, "physical-in"),
        ["flow", "ingress-filter", "marker", "meter", "hundredth"]
    );
    assert_eq!(dataplane.state().hooks["meter"].generation, 2);
    let diff: Diff = control.get("/v1/diff?from=2");
    let words: Vec<_> =
        diff.entries.iter().map(|entry| (&*entry.name, entry.after.as_deref().unwrap())).collect();
    assert_eq!(
        words,
        [
            (
                "hundredth",
                "{ owner: cli, program: hundredth, event: physical-in, settings: { every: 50 } }"
            ),
            ("meter", "{ program: hundredth, event: physical-in, settings: { every: 50 } }"),
        ]
    );
    let applied: Applied = control.done("POST", "/v1/apply?file=last.yaml", &configuration(""));
    assert_eq!(applied.changes.to_string(), "-2 hooks");
    assert_eq!(order(&control, "physical-in"), ["flow", "ingress-filter", "hundredth"]);
}

#[test]
fn hooks_outlive_either_process_and_come_back_in_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    for name in ["one", "two"] {
        let hook = format!(r#"{{"name":"{name}","program":"hundredth","event":"forwarding"}}"#);
        let _: Applied = control.done("POST", "/v1/hooks", &hook);
    }
    let all = order(&control, "forwarding");
    assert_eq!(all[3..], ["one", "two"]);
    control.kill();
    let control = Control::start(directory.path(), &[]);
    assert_eq!(control.committed(), 3);
    assert_eq!(order(&control, "forwarding"), all);
    drop(dataplane);
    let dataplane = FakeDataplane::start(directory.path());
    assert_eq!(control.reaches(3), 3);
    assert_eq!(dataplane.state().hooks.len(), 3);

    // `one` is loaded anew, and stands behind `two`, until it is taken back.
    let _: Applied = control.done("DELETE", "/v1/hooks?name=one", "");
    let one = r#"{"name":"one","program":"hundredth","event":"forwarding"}"#;
    let _: Applied = control.done("POST", "/v1/hooks", one);
    assert_eq!(order(&control, "forwarding")[3..], ["two", "one"]);
    let _: Applied = control.done("POST", "/v1/rollback?generation=3", "");
    assert_eq!(order(&control, "forwarding"), all);
}

#[test]
fn what_the_dataplane_says_of_programs_modules_and_broken_hooks_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let (dataplane, control) = start(directory.path());
    let program = ProgramStatus {
        name: "hundredth".into(),
        summary: "drops".into(),
        settings: vec![("every".into(), "which one".into())],
        events: vec![Event::PhysicalIn],
    };
    let foreign = |name: &str| ForeignHook {
        instance: Some("default".into()),
        protocols: vec![Protocol::Arp],
        event: Event::PhysicalIn,
        name: name.into(),
        hint: Hint::None,
    };
    let running = hook_status(foreign("seen"), HookOrigin::Module("arpwatch".into()));
    let state = HookState::TakenOut("it panicked 3 times".into());
    let broken = hook_status(foreign("broken"), HookOrigin::Fault);
    dataplane.behaviour().hooks.programs = vec![program];
    dataplane.behaviour().hooks.hooks = vec![
        HookStatus { counters: vec![("answers".into(), 7)], ..running },
        HookStatus { state, ..broken },
    ];
    let programs: Vec<HookProgram> = control.get("/v1/hooks/programs");
    assert_eq!((&*programs[0].name, &*programs[0].settings[0].key), ("hundredth", "every"));
    let hooks: Hooks = control.get("/v1/hooks?event=physical-in");
    let arp = hooks.orders.iter().find(|order| order.protocols == [Protocol::Arp]).unwrap();
    assert_eq!(arp.places.len(), 1, "what is taken out stands in no order");
    assert_eq!(arp.places[0].origin, Origin::Module("arpwatch".into()));
    assert_eq!((&*arp.places[0].counters[0].name, arp.places[0].counters[0].value), ("answers", 7));
    let broken = hooks.hooks.iter().find(|hook| &*hook.name == "broken").unwrap();
    assert_eq!((broken.running, broken.reason.as_deref()), (false, Some("it panicked 3 times")));
}

#[test]
fn explain_knows_the_hooks_of_each_generation() {
    let directory = tempfile::tempdir().unwrap();
    let (_dataplane, control) = start(directory.path());
    let _: Applied = control.done("POST", "/v1/apply?file=next.yaml", &configuration(""));
    let packet = r#"{"input":"lan","src":"10.0.1.2","dst":"10.0.2.2","protocol":17,"dst_port":9}"#;
    let now: Explained = control.done("POST", "/v1/explain", packet);
    assert_eq!(now.explanation.way.verdict, Verdict::Accept);
    let then: Explained = control.done("POST", "/v1/explain?at=1", packet);
    let otherwise = Box::new(Verdict::Accept);
    assert_eq!(then.explanation.way.verdict, Verdict::Unknown { hook: "marker".into(), otherwise });
    let told = serde_json::to_value(&then.explanation.way.steps).unwrap();
    let step = told.as_array().unwrap().iter().find(|step| step["stage"] == "marker").unwrap();
    let text = step["text"].as_str().map(str::to_owned);
    assert!(text.unwrap().starts_with("program dscp-mark, loaded at "), "{step}");
    assert_eq!(step["foreign"], Value::Bool(true));
}
