//! Memory for secrets that outlive a call: left out of core dumps, not swapped out if that can be helped, and wiped.

use std::ops::Range;
use std::ptr::NonNull;

/// Texts, one behind the other.
pub struct Vault {
    /// Its own mapping of `len` bytes; none of no bytes.
    memory: Option<NonNull<u8>>,
    len: usize,
}

impl Vault {
    /// A vault with these texts, and where each of them is. Without memory to be had there is none.
    pub fn of(texts: &[&str]) -> Option<(Vault, Vec<Range<usize>>)> {
        let len = texts.iter().map(|text| text.len()).sum();
        if len == 0 {
            return Some((Vault { memory: None, len }, vec![0..0; texts.len()]));
        }
        // SAFETY: a new private mapping, which nothing else refers to; it is as long as what is copied into it. Advice and
        // lock are about that mapping alone, and may fail without harm.
        unsafe {
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let memory = libc::mmap(std::ptr::null_mut(), len, access, kind, -1, 0);
            if memory == libc::MAP_FAILED {
                return None;
            }
            #[cfg(target_os = "linux")]
            libc::madvise(memory, len, libc::MADV_DONTDUMP);
            libc::mlock(memory, len);
            let (memory, mut at) = (memory.cast::<u8>(), 0);
            let mut places = Vec::with_capacity(texts.len());
            for text in texts {
                std::ptr::copy_nonoverlapping(text.as_ptr(), memory.add(at), text.len());
                places.push(at..at + text.len());
                at += text.len();
            }
            Some((Vault { memory: NonNull::new(memory), len }, places))
        }
    }

    /// The text at a place that [`Vault::of`] gave.
    pub fn text(&self, place: &Range<usize>) -> &str {
        let Some(memory) = self.memory else { return "" };
        // SAFETY: the mapping lives as long as this value, is `len` bytes long, and nothing writes it.
        let bytes = unsafe { std::slice::from_raw_parts(memory.as_ptr(), self.len) };
        bytes.get(place.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        if let Some(memory) = self.memory {
            // SAFETY: the mapping is this value's own and as long as it says. The wiping is volatile, so that it is done.
            unsafe {
                for i in 0..self.len {
                    memory.as_ptr().add(i).write_volatile(0);
                }
                libc::munmap(memory.as_ptr().cast(), self.len);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back() {
        for texts in [vec![], vec![""], vec!["one"], vec!["one", "", "two", "three"], vec!["x"; 10_000]] {
            let (vault, places) = Vault::of(&texts).unwrap_or_else(|| unreachable!("no memory"));
            assert_eq!(places.iter().map(|place| vault.text(place)).collect::<Vec<_>>(), texts);
            assert_eq!(vault.text(&(0..1_000_000)), "");
        }
    }

    /// What the kernel says of the mapping with this address. It shows neighbours with the same flags as one.
    #[cfg(target_os = "linux")]
    fn flags(at: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        let holds = |line: &&str| {
            let ends = line.split(' ').next().and_then(|range| range.split_once('-'));
            let end = |text| usize::from_str_radix(text, 16).ok();
            ends.and_then(|(from, to)| Some((end(from)?..end(to)?).contains(&at))).unwrap_or(false)
        };
        let mut lines = maps.lines().skip_while(|line| !holds(line));
        lines.find(|line| line.starts_with("VmFlags:")).unwrap_or_default().to_string()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn core_dumps_leave_it_out() {
        let vaults: Vec<_> = (0..4).filter_map(|_| Vault::of(&["secret"])).collect();
        assert_eq!(vaults.len(), 4);
        for (vault, _) in vaults {
            let flags = flags(vault.memory.map_or(0, |memory| memory.as_ptr() as usize));
            assert!(flags.split(' ').any(|flag| flag == "dd"), "{flags}");
        }
    }
}
