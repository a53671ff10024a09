//! `sluice route add`: from the words of the command line to the request.

use ipnet::IpNet;
use sluice_control_api::{AddRoute, DeleteRoute, Hop};

use crate::failed::Failed;

/// Reads `PREFIX TARGET…`.
pub(crate) fn add(
    prefix: &str,
    target: &[String],
    instance: Option<&str>,
    replace: bool,
) -> Result<AddRoute, Failed> {
    let mut route = AddRoute {
        to: read_prefix(prefix)?,
        instance: instance.map(Into::into),
        via: Vec::new(),
        blackhole: false,
        reject: false,
        replace,
    };
    match target {
        [word] if word == "blackhole" => route.blackhole = true,
        [word] if word == "reject" => route.reject = true,
        words => route.via = hops(words)?,
    }
    Ok(route)
}

/// Reads the prefix of the route to remove.
pub(crate) fn delete(prefix: &str, instance: Option<&str>) -> Result<DeleteRoute, Failed> {
    Ok(DeleteRoute { to: read_prefix(prefix)?, instance: instance.map(Into::into) })
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
                     `dev INTERFACE`, `blackhole` and `reject` are"
                )));
            }
        }
    }
    Ok(hops)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<AddRoute, Failed> {
        let words: Vec<String> = line.split_whitespace().map(Into::into).collect();
        add(&words[0], &words[1..], None, false)
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
