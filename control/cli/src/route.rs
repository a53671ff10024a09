//! `sluice route`: from the words of the command line to the request.

use ipnet::IpNet;
use sluice_control_api::{
    AddRoute, Applied, DeleteRoute, Expected, Hop, Lookup, OwnerRoutes, RouteOperation,
    Transaction, WithdrawRoutes,
};

use crate::args::{self, LoadRoutes, Place, Route};
use crate::client::{Client, with_query};
use crate::command::print;
use crate::failed::Failed;
use crate::{commits, questions, render};

/// Does what the command says, and draws what came of it.
pub(crate) async fn run(client: &Client, command: Route, json: bool) -> Result<String, Failed> {
    let (operation, how) = match command {
        Route::Add(route) => (RouteOperation::Add(add(&route)?), route.how),
        Route::Load(file) => return load(client, &file, json).await,
        Route::Del(route) => (RouteOperation::Delete(delete(&route)?), route.how),
        Route::Withdraw { owner, instance, table, how } => {
            let (instance, table) = (instance.map(Into::into), table.map(Into::into));
            (RouteOperation::Withdraw(WithdrawRoutes { owner, instance, table }), how)
        }
        Route::Stale { owner, how } => (RouteOperation::Stale(OwnerRoutes { owner }), how),
        Route::Sweep { owner, how } => (RouteOperation::Sweep(OwnerRoutes { owner }), how),
        Route::Query(asked) => return questions::route(client, &asked, json).await,
    };
    let query = commits::query(&how);
    let answer = match operation {
        RouteOperation::Add(route) => client.post(&with_query("/v1/routes", &query), &route).await,
        RouteOperation::Delete(DeleteRoute { to, instance, table, owner, expect }) => {
            let Expected { generation, absent: _, owner: in_use } = expect.unwrap_or_default();
            let route = [
                ("to", Some(to.to_string())),
                ("instance", instance.map(|name| name.to_string())),
                ("table", table.map(|name| name.to_string())),
                ("owner", owner.map(|owner| owner.to_string())),
                ("if_generation", generation.map(|generation| generation.to_string())),
                ("if_owner", in_use.map(|owner| owner.to_string())),
            ];
            client.delete(&with_query("/v1/routes", &[&route[..], &query].concat())).await
        }
        other => {
            let transaction = Transaction { operations: vec![other] };
            client.post(&with_query("/v1/transaction", &query), &transaction).await
        }
    };
    print::<Applied>(answer?, json, render::applied)
}

/// `sluice route load`.
async fn load(client: &Client, words: &LoadRoutes, json: bool) -> Result<String, Failed> {
    let LoadRoutes { file, place, replace, generation, how } = words;
    let Place { instance, table, owner } = place;
    let mut query = commits::query(how);
    query.extend([
        ("owner", owner.as_ref().map(ToString::to_string)),
        ("instance", instance.clone()),
        ("table", table.clone()),
        ("replace", replace.then(|| "true".into())),
        ("generation", generation.map(|generation| generation.to_string())),
    ]);
    let answer = client.post_file(&with_query("/v1/routes/load", &query), file).await?;
    print::<Applied>(answer, json, render::applied)
}

/// Reads `PREFIX TARGET…`.
fn add(words: &args::AddRoute) -> Result<AddRoute, Failed> {
    let args::AddRoute { prefix, target, place, preference, metric, tag, replace, .. } = words;
    let Place { instance, table, owner } = place;
    let expected = Expected {
        generation: words.if_generation,
        absent: words.if_absent,
        owner: words.if_owner.clone(),
    };
    let mut route = AddRoute {
        to: read_prefix(prefix)?,
        instance: instance.as_deref().map(Into::into),
        table: table.as_deref().map(Into::into),
        owner: owner.clone(),
        via: Vec::new(),
        blackhole: false,
        reject: false,
        prohibit: false,
        lookup: None,
        preference: *preference,
        metric: *metric,
        tag: *tag,
        replace: *replace,
        expect: (expected != Expected::default()).then_some(expected),
    };
    match target.as_slice() {
        [word] if word == "blackhole" => route.blackhole = true,
        [word] if word == "reject" => route.reject = true,
        [word] if word == "prohibit" => route.prohibit = true,
        [word, table] if word == "lookup" => {
            route.lookup = Some(Lookup { instance: None, table: Some(table.as_str().into()) });
        }
        [word, instance, table] if word == "lookup" => {
            let (instance, table) = (instance.as_str().into(), table.as_str().into());
            route.lookup = Some(Lookup { instance: Some(instance), table: Some(table) });
        }
        words => route.via = hops(words)?,
    }
    Ok(route)
}

/// Reads which route to remove.
fn delete(words: &args::DeleteRoute) -> Result<DeleteRoute, Failed> {
    let Place { instance, table, owner } = &words.place;
    let expected =
        Expected { generation: words.if_generation, absent: false, owner: words.if_owner.clone() };
    Ok(DeleteRoute {
        to: read_prefix(&words.prefix)?,
        instance: instance.as_deref().map(Into::into),
        table: table.as_deref().map(Into::into),
        owner: owner.clone(),
        expect: (expected != Expected::default()).then_some(expected),
    })
}

fn read_prefix(text: &str) -> Result<IpNet, Failed> {
    if text == "default" {
        return Err(Failed::Usage("`default` is of either family: say 0.0.0.0/0 or ::/0".into()));
    }
    let prefix: IpNet = text.parse().map_err(|_| {
        Failed::Usage(format!("`{text}` is not a prefix: write it as 10.9.0.0/16 or fd00:9::/32"))
    })?;
    if prefix.trunc() != prefix {
        return Err(Failed::Usage(format!(
            "{prefix} has bits set beyond its length: {} is meant?",
            prefix.trunc()
        )));
    }
    Ok(prefix)
}

fn hops(words: &[String]) -> Result<Vec<Hop>, Failed> {
    let mut hops: Vec<Hop> = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = |what: &str, value: Option<&String>| {
            value.cloned().ok_or_else(|| Failed::Usage(format!("`{word}` needs {what} after it")))
        };
        match (word.as_str(), hops.last_mut()) {
            ("via", _) => {
                let text = value("an address", words.next())?;
                let address = text.parse().map_err(|_| {
                    Failed::Usage(format!("`via {text}`: an IPv4 or IPv6 address is allowed"))
                })?;
                hops.push(Hop { address: Some(address), interface: None, weight: 1 });
            }
            ("dev", Some(hop)) if hop.interface.is_none() => {
                hop.interface = Some(value("an interface", words.next())?.as_str().into());
            }
            ("dev", _) => {
                let interface = Some(value("an interface", words.next())?.as_str().into());
                hops.push(Hop { address: None, interface, weight: 1 });
            }
            ("weight", Some(hop)) => {
                let text = value("a number", words.next())?;
                hop.weight =
                    text.parse().ok().filter(|weight| (1..=256).contains(weight)).ok_or_else(
                        || Failed::Usage(format!("`weight {text}`: 1 to 256 is allowed")),
                    )?;
            }
            _ => {
                return Err(Failed::Usage(format!(
                    "`{word}` is not understood here: `via ADDRESS [dev INTERFACE] [weight N]`, \
                     `dev INTERFACE`, `blackhole`, `reject`, `prohibit` and \
                     `lookup [INSTANCE] TABLE` are"
                )));
            }
        }
    }
    Ok(hops)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use sluice_policy::model::Owner;

    use super::*;
    use crate::args::{Cli, Command};

    fn parse(line: &str) -> Result<AddRoute, Failed> {
        let words = ["sluice", "route", "add"].into_iter().chain(line.split_whitespace());
        let command = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).command;
        let Command::Route(Route::Add(words)) = command else { panic!("{command:?}") };
        add(&words)
    }

    fn hop(address: Option<&str>, interface: Option<&str>, weight: u16) -> Hop {
        let address = address.map(|text| text.parse().unwrap());
        Hop { address, interface: interface.map(Into::into), weight }
    }

    #[test]
    fn every_form_is_read() {
        let one = parse("10.9.0.0/16 via 10.0.2.2 dev wan").unwrap();
        assert_eq!(one.via, [hop(Some("10.0.2.2"), Some("wan"), 1)]);
        let two = parse("fd00:9::/32 via fd00::2 via fd00::3 weight 2").unwrap();
        assert_eq!(two.via, [hop(Some("fd00::2"), None, 1), hop(Some("fd00::3"), None, 2)]);
        let link = parse("10.9.0.0/16 dev wan dev lan weight 3").unwrap();
        assert_eq!(link.via, [hop(None, Some("wan"), 1), hop(None, Some("lan"), 3)]);
        assert!(parse("10.9.0.0/16 blackhole").unwrap().blackhole);
        assert!(parse("10.9.0.0/16 reject").unwrap().reject);
        assert!(parse("10.9.0.0/16 prohibit").unwrap().prohibit);
        let lookup = |line: &str| parse(line).unwrap().lookup.unwrap();
        let table = Some("isp".into());
        let expected = Lookup { instance: None, table: table.clone() };
        assert_eq!(lookup("10.9.0.0/16 lookup isp"), expected);
        let expected = Lookup { instance: Some("blue".into()), table };
        assert_eq!(lookup("10.9.0.0/16 lookup blue isp"), expected);
    }

    #[test]
    fn what_is_expected_is_said_once() {
        let line =
            "10.9.0.0/16 blackhole --owner dhcp --table isp --preference 7 --if-generation 3";
        let route = parse(line).unwrap();
        assert_eq!(route.owner, Some(Owner::Dhcp));
        assert_eq!((route.table.as_deref(), route.preference), (Some("isp"), Some(7)));
        assert_eq!(route.expect.unwrap().generation, Some(3));
        assert_eq!(parse("10.9.0.0/16 blackhole").unwrap().expect, None);
        let both = "sluice route add 10.9.0.0/16 blackhole --if-absent --if-owner dhcp";
        assert!(Cli::try_parse_from(both.split(' ')).is_err());
    }

    #[test]
    fn mistakes_name_the_word_and_are_usage_errors() {
        for (line, says) in [
            ("10.9.0.1/16 blackhole", "10.9.0.0/16 is meant"),
            ("10.9.0.0 blackhole", "`10.9.0.0` is not a prefix"),
            ("default via 10.0.0.1", "0.0.0.0/0"),
            ("10.9.0.0/16 via", "needs an address"),
            ("10.9.0.0/16 via wan", "`via wan`"),
            ("10.9.0.0/16 via 10.0.0.1 weight 0", "`weight 0`"),
            ("10.9.0.0/16 weight 3", "`weight` is not understood"),
            ("10.9.0.0/16 blackhole via 10.0.0.1", "`blackhole` is not understood"),
        ] {
            let failed = parse(line).unwrap_err();
            assert!(failed.to_string().contains(says), "{line}: {failed}");
            assert_eq!(failed.code(), 2);
        }
    }
}
