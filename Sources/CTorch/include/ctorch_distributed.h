// Communication between ranks, and memory that comes and goes.
//
// Key-value stores are c10d's TCPStore; groups are c10d's Gloo backend, for CPU tensors. Operations of a
// group are matched over its ranks by the order in which they are issued.
#ifndef CTORCH_DISTRIBUTED_H
#define CTORCH_DISTRIBUTED_H
#include "ctorch.h"
#ifdef __cplusplus
extern "C" {
#endif
#pragma clang assume_nonnull begin

typedef struct ct_store ct_store;  // one connection to a store, and the store itself where it is served
typedef struct ct_group ct_group;  // this rank's connections to the others of a group
typedef struct ct_work ct_work;    // an operation under way; keeps its tensors alive

// ---- Stores. Safe to use from several threads.

/// Serves a store on `port` (0: a free one), or connects to the one at host:port. Waits up to `timeout_ms`.
CTStatus ct_store_tcp(const char *host, uint16_t port, bool is_server, int64_t timeout_ms,
                      ct_store *_Nullable *_Nonnull out);
void ct_store_free(ct_store *store);
uint16_t ct_store_port(const ct_store *store);
CTStatus ct_store_set(ct_store *store, const char *key, const uint8_t *_Nullable bytes, size_t byte_count);
/// The value of a key, which must be there, as a uint8 tensor.
CTStatus ct_store_get(ct_store *store, const char *key, ct_tensor *_Nullable *_Nonnull out);
/// Waits until the key has a value; `found` is false when the time is over.
CTStatus ct_store_wait(ct_store *store, const char *key, int64_t timeout_ms, bool *found);
CTStatus ct_store_contains(ct_store *store, const char *key, bool *out);
CTStatus ct_store_add(ct_store *store, const char *key, int64_t amount, int64_t *out);

// ---- Groups. Used by one thread.

/// Connects this rank, the `index`-th of `size`, to the others; waits for them up to `timeout_ms`, which is
/// each operation's time-out as well. `prefix` is the group's own part of the store. `loopback`: all ranks
/// are on this machine.
CTStatus ct_group_create(ct_store *store, const char *prefix, int32_t index, int32_t size, int64_t timeout_ms,
                         bool loopback, ct_group *_Nullable *_Nonnull out);
/// Waits for operations under way.
void ct_group_free(ct_group *group);

/// output: [size n], input: [n] of any dtype.
CTStatus ct_group_all_gather(ct_group *group, ct_tensor *output, ct_tensor *input, ct_work *_Nullable *_Nonnull out);
/// In place: the sum, or the maximum, over the ranks; the same bits on every rank.
CTStatus ct_group_all_reduce(ct_group *group, ct_tensor *tensor, bool maximum, ct_work *_Nullable *_Nonnull out);
/// Rows (dim 0) go to rank i as input_counts[i] says and come from it as output_counts[i] says. Any dtype.
CTStatus ct_group_all_to_all(ct_group *group, ct_tensor *output, ct_tensor *input, const int64_t *output_counts,
                             const int64_t *input_counts, size_t count, ct_work *_Nullable *_Nonnull out);
/// In place, from the `root`-th rank. Any dtype.
CTStatus ct_group_broadcast(ct_group *group, ct_tensor *tensor, int32_t root, ct_work *_Nullable *_Nonnull out);
CTStatus ct_group_barrier(ct_group *group, ct_work *_Nullable *_Nonnull out);

/// Waits up to `milliseconds`; `done` is false when it is still under way. The operation's error is this one's. Where it
/// runs on a device, the current stream waits for it and this thread does not: `done` is true at once.
CTStatus ct_work_wait(ct_work *work, int64_t milliseconds, bool *done);
/// Whether it ended, well or not.
CTStatus ct_work_is_done(ct_work *work, bool *done);
/// The error of one that has ended, if it has one.
CTStatus ct_work_check(ct_work *work);
void ct_work_free(ct_work *work);

// ---- Memory

/// A [count] tensor of a device whose storage has no memory.
CTStatus ct_tensor_detached_storage(int64_t count, int32_t dtype, CTDevice device, ct_tensor *_Nullable *_Nonnull out);
/// The storage of `tensor` and all its views uses the memory at the first element of `other` and keeps it alive.
CTStatus ct_tensor_attach_memory(ct_tensor *tensor, ct_tensor *other);
CTStatus ct_tensor_detach_memory(ct_tensor *tensor);
bool ct_tensor_has_memory(const ct_tensor *tensor);

/// Counts the bytes of CPU tensors that are allocated from now on.
CTStatus ct_memory_start_counting(void);
int64_t ct_memory_live_bytes(void);
int64_t ct_memory_peak_bytes(void);
void ct_memory_reset_peak(void);

// ---- Process

/// The kernel kills this process when the thread that started it ends. False where that is not to be had.
bool ct_exit_with_parent(void);

#pragma clang assume_nonnull end
#ifdef __cplusplus
}
#endif
#endif
