//! Frames and pools on a real EAL: one process, one test.

use tickpath::dpdk::{Burst, Checksum, Eal, Frame, Lcore, Mempool, Region, Socket, free_burst, lcore, sizes};

fn start() -> Eal {
    let prefix = format!("--file-prefix=tickpath-frames-{}", std::process::id());
    let args = ["--no-huge", "-m", "256", "--no-pci", "--lcores", "0@0,1@0", &prefix].map(String::from);
    Eal::init("tickpath", &args).unwrap()
}

#[test]
fn frames_pools_and_regions_keep_their_promises() {
    let eal = start();
    a_pool_runs_dry_and_fills_again(&eal);
    what_an_lcore_keeps_in_its_cache_is_given_back_when_it_leaves(&eal);
    a_frame_grows_only_into_its_room(&eal);
    what_travels_with_a_frame_comes_back_as_its_own_type(&eal);
    a_shared_frame_is_not_writable(&eal);
    a_segmented_frame_counts_its_segments(&eal);
    errors_name_the_number_and_the_remedy(&eal);
    plan_sizes_hold(&eal);
    a_region_lies_on_its_node(&eal);
    a_pool_with_frames_out_outlives_its_owner(&eal);
    let again = Eal::init("tickpath", &[]).unwrap_err().to_string();
    assert!(again.contains("only once"), "{again}");
}

fn a_pool_runs_dry_and_fills_again(eal: &Eal) {
    let pool = Mempool::frames(eal, "dry", 100, 16, 2048, Socket::Any).unwrap();
    let mut burst = Burst::new();
    assert!(pool.alloc_bulk(&mut burst, 60));
    assert!(!pool.alloc_bulk(&mut burst, 60), "a burst holds 64");
    let mut other = Burst::new();
    assert!(!pool.alloc_bulk(&mut other, 41), "all or none");
    assert!(other.is_empty());
    let singles: Vec<Frame> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(singles.len(), 40);
    assert_eq!((pool.in_use(), pool.available(), pool.size()), (100, 0, 100));
    drop(singles);
    assert_eq!(pool.in_use(), 60);
    free_burst(&mut burst);
    assert!(burst.is_empty());
    assert_eq!(pool.in_use(), 0);
}

fn what_an_lcore_keeps_in_its_cache_is_given_back_when_it_leaves(eal: &Eal) {
    let pool = Mempool::frames(eal, "cached", 100, 16, 64, Socket::Any).unwrap();
    let on_lcore = |work: &(dyn Fn() + Sync)| lcore::on(eal, Lcore::new(1), work).unwrap().unwrap();
    let to_be_had = || std::iter::from_fn(|| pool.alloc()).collect::<Vec<Frame>>().len();
    on_lcore(&|| drop(pool.alloc()));
    assert_eq!(pool.in_use(), 0);
    assert!(to_be_had() < 100, "nobody else gets what is in a cache");
    pool.flush();
    assert!(to_be_had() < 100, "nor does another lcore's flush give it back");
    on_lcore(&|| pool.flush());
    assert_eq!(to_be_had(), 100);
}

fn a_frame_grows_only_into_its_room(eal: &Eal) {
    let pool = Mempool::frames(eal, "room", 7, 0, 256, Socket::Any).unwrap();
    let mut frame = pool.alloc().unwrap();
    assert_eq!((frame.len(), frame.segments(), frame.headroom(), frame.tailroom()), (0, 1, sizes::HEADROOM, 256));
    frame.append(4).unwrap().copy_from_slice(b"data");
    frame.prepend(3).unwrap().copy_from_slice(b"eth");
    assert_eq!(frame.bytes(), b"ethdata");
    assert_eq!((frame.len(), frame.headroom(), frame.tailroom()), (7, sizes::HEADROOM - 3, 252));
    assert!(frame.append(253).is_none());
    assert!(frame.prepend(sizes::HEADROOM).is_none());
    assert_eq!(frame.bytes(), b"ethdata", "a refusal changes nothing");
    assert!(frame.set_len(3));
    assert_eq!(frame.bytes(), b"eth");
    assert!(!frame.set_len(260));
    assert_eq!((frame.vlan_stripped(), frame.ip_checksum(), frame.l4_checksum()), {
        (None, Checksum::Unknown, Checksum::Unknown)
    });
    drop(frame);
    assert_eq!(pool.alloc().unwrap().headroom(), sizes::HEADROOM, "a fresh frame is fresh");
    assert_eq!(pool.in_use(), 0);
}

fn what_travels_with_a_frame_comes_back_as_its_own_type(eal: &Eal) {
    #[derive(Clone, Copy, PartialEq, Debug)]
    #[repr(align(128))]
    struct Wide([u64; 16]);
    let pool = Mempool::frames(eal, "private", 3, 0, 64, Socket::Any).unwrap();
    let mut frame = pool.alloc().unwrap();
    assert_eq!(frame.private::<u64>(), None, "nothing was put in yet");
    frame.set_private(7u64);
    assert_eq!(frame.private::<u64>(), Some(7));
    assert_eq!(frame.private::<i64>(), None);
    frame.append(64).unwrap().fill(0xff);
    let wide = Wide(std::array::from_fn(|i| i as u64));
    frame.set_private(wide);
    assert_eq!(frame.private::<Wide>(), Some(wide));
    assert_eq!(frame.private::<u64>(), None);
    assert!(frame.bytes().iter().all(|b| *b == 0xff), "the data is apart from what travels");
}

fn a_shared_frame_is_not_writable(eal: &Eal) {
    let pool = Mempool::frames(eal, "shared", 3, 0, 64, Socket::Any).unwrap();
    let mut frame = pool.alloc().unwrap();
    frame.append(8).unwrap().fill(1);
    // SAFETY: one more reference, which `other` owns.
    let other = unsafe {
        dpdk_sys::shim_mbuf_refcnt_add(frame.as_ptr(), 1);
        Frame::from_raw(std::ptr::NonNull::new(frame.as_ptr()).unwrap())
    };
    assert!(frame.bytes_mut().is_none() && frame.append(1).is_none() && frame.prepend(1).is_none());
    assert!(!frame.set_len(1));
    assert_eq!(other.bytes(), [1; 8]);
    drop(other);
    assert_eq!(pool.in_use(), 1);
    frame.bytes_mut().unwrap().fill(2);
    drop(frame);
    assert_eq!(pool.in_use(), 0);
}

fn a_segmented_frame_counts_its_segments(eal: &Eal) {
    let pool = Mempool::frames(eal, "segments", 3, 0, 64, Socket::Any).unwrap();
    let mut head = pool.alloc().unwrap();
    head.append(64).unwrap().fill(1);
    let mut tail = pool.alloc().unwrap();
    tail.append(10).unwrap().fill(2);
    // SAFETY: both are ours, and the chain takes the tail over.
    assert_eq!(unsafe { dpdk_sys::shim_mbuf_chain(head.as_ptr(), tail.as_ptr()) }, 0);
    std::mem::forget(tail);
    assert_eq!((head.segments(), head.len(), head.bytes().len()), (2, 74, 64));
    assert!(!head.set_len(10) && head.prepend(1).is_none());
    drop(head);
    assert_eq!(pool.in_use(), 0, "both segments came home");
}

fn errors_name_the_number_and_the_remedy(eal: &Eal) {
    let many = Mempool::frames(eal, "many", 1_000_000, 0, 2048, Socket::Any).unwrap_err().to_string();
    assert!(many.contains("`many`") && many.contains("raise -m") && many.contains(" 2512 MB "), "{many}");
    let name = Mempool::frames(eal, "a-name-longer-than-25-bytes", 1, 0, 64, Socket::Any).unwrap_err().to_string();
    assert!(name.contains("1 to 25 bytes"), "{name}");
    let first = Mempool::frames(eal, "twice", 1, 0, 64, Socket::Any).unwrap();
    let second = Mempool::frames(eal, "twice", 1, 0, 64, Socket::Any).unwrap_err().to_string();
    assert!(second.contains("twice") && second.contains("exists"), "{second}");
    drop(first);
    let cache = Mempool::frames(eal, "cache", 10, 8, 64, Socket::Any).unwrap_err().to_string();
    assert!(cache.contains("two thirds"), "{cache}");
    let region = Region::new(eal, "huge", 1 << 40, Socket::Any).unwrap_err().to_string();
    assert!(region.contains(" 1048576 MB ") && region.contains("raise -m"), "{region}");
}

/// What a plan adds up is not less than what EAL takes, and not much more.
fn plan_sizes_hold(eal: &Eal) {
    let before = in_use();
    let pool = Mempool::frames(eal, "sized", 8191, 256, 2048, Socket::Any).unwrap();
    let taken = in_use() - before;
    let planned = sizes::pool_bytes(8191, 2048);
    assert!(planned >= taken && planned < taken * 5 / 4 + (2 << 20), "planned {planned}, taken {taken}");
    drop(pool);
    assert_eq!(in_use(), before);
}

fn in_use() -> usize {
    let mut stats = dpdk_sys::rte_malloc_socket_stats::default();
    // SAFETY: EAL is running.
    assert_eq!(unsafe { dpdk_sys::rte_malloc_get_socket_stats(0, &mut stats) }, 0);
    stats.heap_allocsz_bytes
}

fn a_region_lies_on_its_node(eal: &Eal) {
    let before = in_use();
    let mut region = Region::new(eal, "books", (8 << 20) + 1, Socket::Node(0)).unwrap();
    assert_eq!(region.bytes(), (8 << 20) + 64);
    assert!(bytemuck::cast_slice::<_, u8>(region.lines_mut()).iter().all(|b| *b == 0));
    assert_eq!(region.lines_mut().as_ptr() as usize % (2 << 20), 0);
    match region.nodes() {
        Ok(nodes) => assert_eq!(nodes.keys().copied().collect::<Vec<_>>(), [0]),
        Err(err) => println!("skipped: the kernel does not tell nodes of pages: {err}"),
    }
    drop(region);
    assert_eq!(in_use(), before);
}

fn a_pool_with_frames_out_outlives_its_owner(eal: &Eal) {
    let pool = Mempool::frames(eal, "kept", 3, 0, 64, Socket::Any).unwrap();
    let mut frame = pool.alloc().unwrap();
    drop(pool);
    frame.append(8).unwrap().fill(9);
    assert_eq!(frame.bytes(), [9; 8]);
}
