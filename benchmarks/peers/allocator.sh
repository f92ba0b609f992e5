# Sourced: an allocator for the peers that does not return pages to the kernel. Without it every step of theirs
# takes some 350,000 page faults (1.1 core-seconds of kernel time). Nothing of the peers' code is changed.
# jemalloc where it is installed (Debian: libjemalloc2) or named by JEMALLOC, else settings of glibc.
unset LD_PRELOAD
for library in "${JEMALLOC:-}" /usr/lib/{x86_64,aarch64}-linux-gnu/libjemalloc.so.2 /usr/lib64/libjemalloc.so.2; do
  if [ -n "$library" ] && [ -e "$library" ]; then
    export LD_PRELOAD=$library PEERS_ALLOC=jemalloc
    export MALLOC_CONF="oversize_threshold:0,metadata_thp:auto,dirty_decay_ms:-1,muzzy_decay_ms:-1"
    break
  fi
done
if [ -z "${LD_PRELOAD:-}" ]; then
  export PEERS_ALLOC=glibc-tuned # large blocks on the heap, which is never trimmed
  export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_ARENA_MAX=1 MALLOC_TOP_PAD_=67108864
fi
