//! How a device spreads packets over its receive queues, by its own account: receive-side scaling.

use std::ptr;

use sluice_dpdk_sys as sys;

use super::Port;

/// Bytes of the longest key that a device has.
const LONGEST_KEY: usize = 64;

/// What a device spreads packets by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rss {
    /// The key of its Toeplitz hash.
    pub key: Vec<u8>,
    /// What is hashed of which packets: bits of `RTE_ETH_RSS_*`.
    pub hashes: u64,
    /// The receive queue of each value of the hash's lower bits; its length is a power of two.
    pub table: Vec<u16>,
}

impl Rss {
    /// Whether both directions of a flow have one hash: the key repeats its first 16 bits.
    #[must_use]
    pub fn is_symmetric(&self) -> bool {
        self.key.len() >= 2 && self.key.chunks(2).all(|word| self.key.starts_with(word))
    }

    /// Whether packets are hashed by their addresses alone, so that fragments meet their flow.
    #[must_use]
    pub fn is_of_addresses(&self) -> bool {
        self.hashes & sys::SLUICE_RSS_HASHES & !sys::SLUICE_RSS_ADDRESSES == 0
    }
}

impl Port {
    /// What the device spreads packets by, as it says itself; `None` where it does not, or does not say.
    #[must_use]
    pub fn rss(&self) -> Option<Rss> {
        let info = self.device_info();
        let mut key = vec![0; LONGEST_KEY];
        let mut conf = sys::rte_eth_rss_conf {
            rss_key: key.as_mut_ptr(),
            rss_key_len: LONGEST_KEY as u8,
            ..Default::default()
        };
        // SAFETY: writes the configuration, and of the key no more than its length.
        if unsafe { sys::rte_eth_dev_rss_hash_conf_get(self.id, &raw mut conf) } != 0 {
            return None;
        }
        conf.rss_key = ptr::null_mut();
        key.truncate(match (conf.rss_key_len, info.hash_key_size) {
            // Some say it here and others there.
            (length, 0) => length.into(),
            (length, size) => length.min(size).into(),
        });

        let group = sys::SLUICE_RETA_GROUP as usize;
        let size = usize::from(info.reta_size);
        let all = sys::rte_eth_rss_reta_entry64 { mask: u64::MAX, reta: [0; 64] };
        let mut groups = vec![all; size.div_ceil(group)];
        // SAFETY: there is a group for every `group` entries of the size that the device gives.
        let said = unsafe {
            sys::rte_eth_dev_rss_reta_query(self.id, groups.as_mut_ptr(), info.reta_size)
        };
        let table = groups.iter().flat_map(|group| group.reta).take(size).collect();
        (size > 0 && said == 0).then_some(Rss { key, hashes: conf.rss_hf, table })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_symmetric_if_it_repeats_its_first_word() {
        let of = |key: &[u8]| Rss { key: key.to_vec(), hashes: 0, table: vec![0] }.is_symmetric();
        assert!(of(&[0x6d, 0x5a, 0x6d, 0x5a]) && of(&[0x6d, 0x5a, 0x6d]));
        assert!(!of(&[0x6d, 0x5a, 0x5a, 0x6d]) && !of(&[0x6d, 0x5a, 0x6d, 0x5b]) && !of(&[]));
    }
}
