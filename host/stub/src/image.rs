//! Maps an ELF image the way the kernel's own loader does.
//!
//! Invariant: an image lies inside one reservation made first, so nothing that exists is ever mapped over; bytes
//! past the file content of the last page of a writable segment are zero.
//! It does not relocate: interpreters relocate themselves, programs are relocated by them.

use crate::arch;
use crate::kernel::{
    self, MAP_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_PRIVATE, PROT_EXEC, PROT_NONE, PROT_READ,
    PROT_WRITE,
};

const PAGE: usize = 4096;
const MAX_SEGMENTS: usize = 64;
const TYPE_EXECUTABLE: u16 = 2;
const TYPE_SHARED: u16 = 3;
const SEGMENT_LOAD: u32 = 1;
const SEGMENT_PHDR: u32 = 6;
const FLAG_EXECUTE: u32 = 1;
const FLAG_WRITE: u32 = 2;
const FLAG_READ: u32 = 4;
const ELF_MAGIC: u32 = u32::from_ne_bytes(*b"\x7fELF");

/// `Elf64_Ehdr`.
#[repr(C)]
struct Header {
    magic: u32,
    identity: [u8; 12],
    kind: u16,
    machine: u16,
    version: u32,
    entry: u64,
    segments_offset: u64,
    sections_offset: u64,
    flags: u32,
    header_size: u16,
    segment_size: u16,
    segment_count: u16,
    section_size: u16,
    section_count: u16,
    names_index: u16,
}

/// `Elf64_Phdr`.
#[repr(C)]
struct Segment {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    physical: u64,
    file_size: u64,
    memory_size: u64,
    align: u64,
}

/// Where a mapped image is and starts.
pub struct Image {
    /// What is added to the addresses in the file.
    pub bias: usize,
    /// The entry point.
    pub entry: usize,
    /// The program headers in memory.
    pub segments: usize,
    /// Length of one program header in bytes.
    pub segment_size: usize,
    /// How many there are.
    pub segment_count: usize,
}

/// Maps the ELF file behind `fd`.
pub fn map(fd: usize) -> Image {
    let mut header = core::mem::MaybeUninit::<Header>::uninit();
    // SAFETY: the buffer is a header's size, and any bytes are a valid header structure.
    let header = unsafe {
        kernel::read_at(fd, header.as_mut_ptr().cast(), size_of::<Header>(), 0);
        header.assume_init_ref()
    };
    let count = header.segment_count as usize;
    if header.magic != ELF_MAGIC
        || header.machine != arch::ELF_MACHINE
        || header.segment_size as usize != size_of::<Segment>()
        || count == 0
        || count > MAX_SEGMENTS
        || (header.kind != TYPE_EXECUTABLE && header.kind != TYPE_SHARED)
    {
        kernel::fail(b"it is not an ELF file of this architecture");
    }
    let mut table = core::mem::MaybeUninit::<[Segment; MAX_SEGMENTS]>::uninit();
    let first: *const Segment = table.as_mut_ptr().cast();
    // SAFETY: `count` segments fit into the table, as checked above; any bytes are valid segments.
    let segments = unsafe {
        kernel::read_at(
            fd,
            table.as_mut_ptr().cast(),
            count * size_of::<Segment>(),
            header.segments_offset as usize,
        );
        core::slice::from_raw_parts(first, count)
    };
    let bias = reserve(header.kind, segments);
    let mut headers_at = 0;
    for segment in segments {
        let start = segment.offset as usize;
        let table_at = header.segments_offset as usize;
        if segment.kind == SEGMENT_PHDR {
            headers_at = bias.wrapping_add(segment.address as usize);
        }
        if segment.kind == SEGMENT_LOAD {
            map_segment(fd, bias, segment);
            let covers = table_at >= start && table_at - start < segment.file_size as usize;
            if headers_at == 0 && covers {
                headers_at = bias.wrapping_add(segment.address as usize).wrapping_add(table_at - start);
            }
        }
    }
    Image {
        bias,
        entry: bias.wrapping_add(header.entry as usize),
        segments: headers_at,
        segment_size: size_of::<Segment>(),
        segment_count: count,
    }
}

/// Reserves the whole span of the image, aligned as its segments ask; the bias.
fn reserve(kind: u16, segments: &[Segment]) -> usize {
    let (mut low, mut high, mut align) = (usize::MAX, 0, PAGE);
    for segment in segments {
        if segment.kind == SEGMENT_LOAD {
            let end = segment.address.wrapping_add(segment.memory_size) as usize;
            if end < segment.address as usize || end > isize::MAX as usize - PAGE {
                kernel::fail(b"its ELF segments overflow");
            }
            low = low.min(page_down(segment.address as usize));
            high = high.max(page_up(end));
            let wanted = segment.align as usize;
            if wanted.is_power_of_two() && wanted > align {
                align = wanted;
            }
        }
    }
    if low >= high {
        kernel::fail(b"its ELF file has nothing to load");
    }
    let length = high - low;
    if kind == TYPE_EXECUTABLE {
        // SAFETY: NOREPLACE refuses a range that is in use.
        unsafe {
            kernel::map(
                low,
                length,
                PROT_NONE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
                usize::MAX,
                0,
            )
        };
        return 0;
    }
    let slack = align - PAGE;
    // SAFETY: not a fixed mapping.
    let base =
        unsafe { kernel::map(0, length + slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, usize::MAX, 0) };
    let wanted = low & (align - 1);
    let start = ((base + slack - wanted) & !(align - 1)) + wanted;
    let start = if start < base { start + align } else { start };
    // SAFETY: the parts of our own reservation that the image does not use.
    unsafe {
        if start > base {
            kernel::unmap(base, start - base);
        }
        if start + length < base + length + slack {
            kernel::unmap(start + length, base + slack - start);
        }
    }
    start.wrapping_sub(low)
}

/// Maps one loadable segment into the reservation.
fn map_segment(fd: usize, bias: usize, segment: &Segment) {
    let mut protection = 0;
    for (flag, bit) in [(FLAG_READ, PROT_READ), (FLAG_WRITE, PROT_WRITE), (FLAG_EXECUTE, PROT_EXEC)] {
        if segment.flags & flag != 0 {
            protection |= bit;
        }
    }
    let address = bias.wrapping_add(segment.address as usize);
    let in_page = address & (PAGE - 1);
    let file_end = address + segment.file_size as usize;
    let memory_end = address + segment.memory_size as usize;
    let offset = segment.offset as usize;
    if segment.memory_size < segment.file_size || (segment.file_size > 0 && offset & (PAGE - 1) != in_page) {
        kernel::fail(b"its ELF segments are not aligned");
    }
    let flags = MAP_PRIVATE | MAP_FIXED;
    let mut mapped_end = page_down(address);
    if segment.file_size > 0 {
        let length = segment.file_size as usize + in_page;
        // SAFETY: inside the reservation made for this image.
        unsafe { kernel::map(address - in_page, length, protection, flags, fd, offset - in_page) };
        mapped_end = page_up(file_end);
        // What the last page holds past the file content is whatever follows in the file: the ABI wants zeros.
        let zero_end = mapped_end.min(page_up(memory_end));
        if protection & PROT_WRITE != 0 && segment.memory_size > segment.file_size && zero_end > file_end {
            // SAFETY: inside the private writable page that was just mapped.
            unsafe { arch::fill(file_end as *mut u8, 0, zero_end - file_end) };
        }
    }
    if page_up(memory_end) > mapped_end {
        let length = page_up(memory_end) - mapped_end;
        // SAFETY: inside the reservation made for this image.
        unsafe { kernel::map(mapped_end, length, protection, flags | MAP_ANONYMOUS, usize::MAX, 0) };
    }
}

const fn page_down(address: usize) -> usize {
    address & !(PAGE - 1)
}

const fn page_up(address: usize) -> usize {
    (address + PAGE - 1) & !(PAGE - 1)
}
