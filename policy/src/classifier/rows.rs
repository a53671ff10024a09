//! Bit vectors over all rules, one for each class of values of a field, and their aggregates.
//!
//! A row says which rules a class of values satisfies: a bit a rule, in words of 64. The rows of a
//! field differ in few words, so a row holds only those in which it is not as the field's common
//! one (the rules that do not ask about the field), and blocks of 64 words that several rows share
//! are held once. Therefore the size follows the number of ranges in the rules, whatever they are:
//! each end of a range makes one more class at most, and its row differs from the last one's in the
//! rules of that range alone.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hint::select_unpredictable;

/// 64 words of a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// The words that are not the common ones: they have a bit more, at least.
    pub(super) own: u64,
    /// Where those words are.
    begin: u32,
}

impl Block {
    /// Where a word of the block is; `common` is where the common words of the block are.
    #[inline(always)]
    pub(super) fn word(&self, place: u32, common: u32) -> usize {
        let below = (self.own & ((1 << place) - 1)).count_ones();
        let own = self.own >> place & 1 != 0;
        select_unpredictable(own, self.begin + below, common + place) as usize
    }
}

/// What the rows of a field have in common.
#[derive(Clone, Debug)]
pub(super) struct Common {
    /// The words that have a bit, a block after another: with a row's own words its aggregate.
    pub(super) any: Box<[u64]>,
    /// Where the words are.
    pub(super) begin: u32,
}

/// The rows of a field, or of several combined, while they are made.
pub(super) struct Rows {
    /// Words of a row.
    width: usize,
    /// The common row, then all words that are not as there.
    words: Vec<u64>,
    blocks: Vec<Block>,
    /// The blocks by place in the row, words that are not the common ones, and these.
    known_blocks: HashMap<(usize, u64, Box<[u64]>), u32>,
    /// The rows by their blocks.
    known_rows: HashMap<Box<[u32]>, u32>,
    /// The blocks of each row.
    rows: Vec<u32>,
}

impl Rows {
    /// No row yet; `common` is what rows are compared with.
    pub(super) fn new(common: &[u64]) -> Rows {
        Rows {
            width: common.len(),
            words: common.to_vec(),
            blocks: Vec::new(),
            known_blocks: HashMap::new(),
            known_rows: HashMap::new(),
            rows: Vec::new(),
        }
    }

    /// The common row.
    pub(super) fn common(&self) -> &[u64] {
        &self.words[..self.width]
    }

    /// How many rows there are.
    pub(super) fn count(&self) -> usize {
        self.known_rows.len()
    }

    /// Bytes that the rows take in the end.
    pub(super) fn bytes(&self) -> usize {
        self.rows.len() * size_of::<Block>() + self.words.len() * size_of::<u64>()
    }

    /// The number of the block at a place that has these words.
    pub(super) fn block(&mut self, place: usize, words: &[u64]) -> u32 {
        let common = &self.words[place * 64..][..words.len()];
        let own = mask(words.iter().zip(common).map(|(word, common)| word != common));
        let different = words.iter().zip(common).filter(|(word, common)| word != common);
        let different: Box<[u64]> = different.map(|(word, _)| *word).collect();
        let (begin, number) = (self.words.len() as u32, self.blocks.len() as u32);
        match self.known_blocks.entry((place, own, different)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                self.words.extend(&new.key().2);
                self.blocks.push(Block { own, begin });
                *new.insert(number)
            }
        }
    }

    /// The number of the row that has these blocks.
    pub(super) fn row(&mut self, blocks: &[u32]) -> u32 {
        if let Some(known) = self.known_rows.get(blocks) {
            return *known;
        }
        let number = self.count() as u32;
        self.known_rows.insert(blocks.into(), number);
        self.rows.extend(blocks);
        number
    }

    /// The number of the row that has these words.
    pub(super) fn row_of(&mut self, words: &[u64]) -> u32 {
        let blocks: Vec<u32> =
            words.chunks(64).enumerate().map(|(place, words)| self.block(place, words)).collect();
        self.row(&blocks)
    }

    /// All rows, word by word.
    pub(super) fn expanded(&self) -> Vec<Vec<u64>> {
        let span = self.width.div_ceil(64);
        let word = |row: &[u32], i: usize| {
            let common = (i / 64 * 64) as u32;
            self.words[self.blocks[row[i / 64] as usize].word(i as u32 % 64, common)]
        };
        self.rows.chunks(span).map(|row| (0..self.width).map(|i| word(row, i)).collect()).collect()
    }

    /// Puts the rows behind others, one block after another; returns where the first begins.
    pub(super) fn append(&self, blocks: &mut Vec<Block>, words: &mut Vec<u64>) -> (u32, Common) {
        let (first, begin) = (blocks.len() as u32, words.len() as u32);
        words.extend(&self.words);
        blocks.extend(self.rows.iter().map(|&number| {
            let block = self.blocks[number as usize];
            Block { begin: block.begin + begin, ..block }
        }));
        let any = self.common().chunks(64).map(|words| mask(words.iter().map(|word| *word != 0)));
        (first, Common { any: any.collect(), begin })
    }
}

/// The places of what is true.
fn mask(are: impl Iterator<Item = bool>) -> u64 {
    are.enumerate().fold(0, |mask, (i, is)| mask | u64::from(is) << i)
}
