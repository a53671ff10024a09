//! Connections: shown, ended, and compared by two policies.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_channel::{FlowFilter, FlowPlace, FlowStatus};
use sluice_control_api::{Flow, FlowRate, FlowSelection, FlowSort, FlowState, Flows, FlowsKilled};
use sluice_policy::model::Name;

use super::Answer;
use super::extract::Params;
use super::tables::known_instance;
use crate::app::App;
use crate::error::ControlError;
use crate::flows::{filter, told};

/// Connections in one answer: what is asked for if nothing is said, and at most.
const USUAL: usize = 50;
const MOST: usize = 100_000;

/// Connections whose rate is measured at most: each takes some 40 bytes for a second.
const MOST_MEASURED: usize = 4 << 20;

/// How far apart the two looks at a rate are.
const BETWEEN: Duration = Duration::from_secs(1);

/// Which connections are wanted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    /// Only of this instance.
    instance: Option<Name>,
    /// Only from this prefix: the source of the packet that began the connection.
    src: Option<IpNet>,
    /// Only to this prefix.
    dst: Option<IpNet>,
    /// Only of this IP protocol number.
    proto: Option<u8>,
    /// Only with this port, of either side.
    port: Option<u16>,
    /// Only those that have come so far.
    state: Option<FlowState>,
    /// What comes first; left out, they come as they stand in the tables.
    sort: Option<FlowSort>,
    /// How many at most; 50 if left out, and never more than 100,000.
    limit: Option<usize>,
}

/// Which connections are to end.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KillParams {
    /// Only of this instance.
    instance: Option<Name>,
    /// Only from this prefix: the source of the packet that began the connection.
    src: Option<IpNet>,
    /// Only to this prefix.
    dst: Option<IpNet>,
    /// Only of this IP protocol number.
    proto: Option<u8>,
    /// Only with this port, of either side.
    port: Option<u16>,
    /// Only those that have come so far.
    state: Option<FlowState>,
    /// Whether all of them are meant, if nothing else is said.
    #[serde(default)]
    all: bool,
}

pub(super) async fn list(State(app): State<App>, Params(of): Params<ListParams>) -> Answer<Flows> {
    let ListParams { instance, src, dst, proto, port, state, sort, limit } = of;
    let filter = checked(&app, FlowSelection { instance, src, dst, proto, port, state })?;
    let limit = limit.unwrap_or(USUAL).min(MOST);
    let mut first = First::new(limit);
    let complete = match sort {
        Some(FlowSort::Rate) => by_rate(&app, &filter, &mut first).await?,
        _ => {
            let mut seen = 0;
            let show = |status: FlowStatus| {
                seen += 1;
                first.add(rank(&status, sort, seen), status, None);
            };
            app.each_flow(&filter, show).await?
        }
    };
    let matching = first.seen;
    Ok(Json(Flows { flows: first.into_flows(), matching, complete }))
}

pub(super) async fn kill(
    State(app): State<App>,
    Params(of): Params<KillParams>,
) -> Answer<FlowsKilled> {
    let KillParams { instance, src, dst, proto, port, state, all } = of;
    let filter = checked(&app, FlowSelection { instance, src, dst, proto, port, state })?;
    if filter.is_empty() && !all {
        return Err(ControlError::Request(
            "say which flows: instance, src, dst, proto, port or state; all=true means every one"
                .into(),
        ));
    }
    let (killed, complete) = app.kill_flows(&filter).await?;
    Ok(Json(FlowsKilled { killed, complete }))
}

/// What the dataplane is asked for, if there can be such connections.
pub(super) fn checked(app: &App, selection: FlowSelection) -> Result<FlowFilter, ControlError> {
    let view = app.view();
    let (policy, _) = view.live()?;
    known_instance(selection.instance.as_ref(), policy)?;
    Ok(filter(selection))
}

/// The larger, the earlier it is told; `seen` counts connections as they come.
fn rank(status: &FlowStatus, sort: Option<FlowSort>, seen: u64) -> u64 {
    let FlowStatus { original, reply, .. } = status;
    match sort {
        None | Some(FlowSort::Rate) => u64::MAX - seen,
        Some(FlowSort::Bytes) => original.bytes.wrapping_add(reply.bytes),
        Some(FlowSort::Packets) => original.packets.wrapping_add(reply.packets),
        Some(FlowSort::Idle) => status.idle_ms,
        Some(FlowSort::Age) => status.age_ms,
    }
}

/// What a connection had counted at the first of two looks.
struct Sample {
    /// Tells it from another at the same place.
    hash: u64,
    packets: u64,
    bytes: u64,
    at: Instant,
}

impl Sample {
    fn of(status: &FlowStatus) -> Sample {
        let mut hasher = DefaultHasher::new();
        (&status.instance, status.tuple).hash(&mut hasher);
        Sample {
            hash: hasher.finish(),
            packets: status.original.packets.wrapping_add(status.reply.packets),
            bytes: status.original.bytes.wrapping_add(status.reply.bytes),
            at: Instant::now(),
        }
    }

    /// The rate since. What was not there then began in between, and all that it has counted did.
    fn rate(&self, before: Option<&Sample>, begun: Instant) -> FlowRate {
        let same = before.filter(|b| b.hash == self.hash && b.packets <= self.packets);
        let (packets, bytes, since) = same.map_or((0, 0, begun), |b| (b.packets, b.bytes, b.at));
        let milliseconds = (self.at - since).as_millis().max(1) as u64;
        let a_second = |n: u64| n.saturating_mul(1000) / milliseconds;
        FlowRate {
            packets_per_second: a_second(self.packets.wrapping_sub(packets)),
            bits_per_second: a_second(self.bytes.wrapping_sub(bytes).saturating_mul(8)),
        }
    }
}

/// Looks twice.
async fn by_rate(app: &App, filter: &FlowFilter, first: &mut First) -> Result<bool, ControlError> {
    let begun = Instant::now();
    let mut samples: HashMap<FlowPlace, Sample> = HashMap::new();
    let mut left_out = false;
    let all = app.each_flow(filter, |status| {
        if samples.len() < MOST_MEASURED {
            samples.insert(status.place, Sample::of(&status));
        } else {
            left_out = true;
        }
    });
    all.await?;
    tokio::time::sleep(BETWEEN.saturating_sub(begun.elapsed())).await;
    let complete = app.each_flow(filter, |status| {
        let now = Sample::of(&status);
        let before = samples.get(&status.place);
        if before.is_none() && left_out {
            return;
        }
        let rate = now.rate(before, begun);
        first.add(rate.bits_per_second, status, Some(rate));
    });
    Ok(complete.await? && !left_out)
}

/// The first few of many, in bounded memory.
struct First {
    limit: usize,
    seen: u64,
    kept: Vec<(u64, FlowStatus, Option<FlowRate>)>,
}

impl First {
    fn new(limit: usize) -> First {
        First { limit, seen: 0, kept: Vec::new() }
    }

    fn add(&mut self, rank: u64, status: FlowStatus, rate: Option<FlowRate>) {
        self.seen += 1;
        self.kept.push((rank, status, rate));
        if self.kept.len() >= 2 * self.limit + 64 {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.kept.sort_by_key(|(rank, status, _)| (std::cmp::Reverse(*rank), status.place));
        self.kept.truncate(self.limit);
    }

    fn into_flows(mut self) -> Vec<Flow> {
        self.cut();
        let flow = |(_, status, rate)| Flow { rate, ..told(status) };
        self.kept.into_iter().map(flow).collect()
    }
}

#[cfg(test)]
mod tests {
    use sluice_channel::{FlowDirection, FlowTuple};

    use super::*;

    fn flow(slot: u32, bytes: u64) -> FlowStatus {
        FlowStatus {
            place: FlowPlace { worker: 0, slot },
            instance: "default".into(),
            tuple: FlowTuple {
                source: [10, 0, 1, 2].into(),
                destination: [10, 0, 2, 2].into(),
                protocol: 17,
                source_port: slot as u16,
                destination_port: 53,
                icmp_type: 0,
            },
            state: sluice_channel::FlowState::Answered,
            age_ms: 10,
            idle_ms: u64::from(slot),
            expires_ms: 1000,
            original: FlowDirection { packets: 1, bytes, way: None },
            reply: FlowDirection::default(),
        }
    }

    #[test]
    fn the_first_of_many_are_kept() {
        for limit in [0, 1, 7, 5000] {
            let mut first = First::new(limit);
            for slot in 0..1000 {
                let status = flow(slot, u64::from(slot * 37 % 1000));
                first.add(rank(&status, Some(FlowSort::Bytes), 0), status, None);
                assert!(first.kept.len() <= 2 * limit + 64);
            }
            assert_eq!(first.seen, 1000);
            let flows = first.into_flows();
            let expected: Vec<u64> = (0..1000).rev().take(limit).collect();
            let bytes: Vec<u64> = flows.iter().map(|flow| flow.original.bytes).collect();
            assert_eq!(bytes, expected, "{limit}");
        }
    }

    #[test]
    fn without_an_order_they_come_as_they_stand() {
        let mut first = First::new(3);
        for slot in 0..500 {
            let status = flow(slot, 0);
            first.add(rank(&status, None, u64::from(slot)), status, None);
        }
        let ports: Vec<u16> = first.into_flows().iter().map(|flow| flow.source_port).collect();
        assert_eq!(ports, [0, 1, 2]);
    }

    #[test]
    fn a_rate_is_that_of_one_connection() {
        let now = Instant::now();
        let sample = |hash, packets, bytes, ms| Sample {
            hash,
            packets,
            bytes,
            at: now + Duration::from_millis(ms),
        };
        let then = sample(1, 10, 1000, 0);
        let rate = |s: &Sample, before| {
            let rate = s.rate(before, now);
            (rate.packets_per_second, rate.bits_per_second)
        };
        assert_eq!(rate(&sample(1, 30, 3000, 2000), Some(&then)), (10, 8000));
        // Another one at its place, one that began anew, and one that was not there.
        assert_eq!(rate(&sample(2, 30, 3000, 1000), Some(&then)), (30, 24_000));
        assert_eq!(rate(&sample(1, 5, 500, 1000), Some(&then)), (5, 4000));
        assert_eq!(rate(&sample(1, 5, 500, 1000), None), (5, 4000));
        assert_eq!(rate(&sample(1, 10, 1000, 0), Some(&then)), (0, 0), "no time has passed");
    }
}
