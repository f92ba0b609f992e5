// A device for tests: libtorch's PrivateUse1 under the name npu, with two devices in host memory.
//
// Its addresses fault when the CPU uses them, so that nothing reads a device tensor by accident; operators without
// a kernel here copy their arguments to the CPU, run there and copy back. Its streams are as careless as is allowed, see
// streams.h.
#ifndef TEST_DEVICE_H
#define TEST_DEVICE_H
#include <stdbool.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#pragma clang assume_nonnull begin
/// Calls of operators that ran on the CPU so far.
int64_t test_device_fallback_count(void);
/// Copies between the host and the device so far, those of operators included.
int64_t test_device_copy_count(void);
/// Reads a byte of the memory of a new device tensor as a careless CPU kernel would; does not return.
void test_device_read_from_host(void);

/// Uses of memory that no event and no wait orders, since the last call: a line each, at most five; valid until the next
/// call.
const char *test_device_take_hazards(void);
/// Leaves out one wait of a stream for an event, counted from 0 from now on; none where `index` is negative.
void test_device_skip_wait(int64_t index);
/// Waits of streams for events since the last call of test_device_skip_wait.
int64_t test_device_wait_count(void);
/// Whether waits of the host are noted where they are forbidden, instead of refused.
void test_device_note_waits(bool notes);
/// The operations that waited since the last call and how often, a line each; valid until the next call.
const char *test_device_take_waits(void);
/// Bytes that each device has; what goes beyond is out of memory. 0 for no limit.
void test_device_set_memory_limit(int64_t byte_count);

/// Which operators the namespace npu has.
typedef enum TestOperators : int32_t {
  TestOperatorsNone = 0,
  /// Those of torch_npu that are recorded, computed on the CPU as its documentation says.
  TestOperatorsRecorded = 1,
  /// The same without npu_swiglu, and npu_rms_norm with another default.
  TestOperatorsOther = 2,
} TestOperators;
/// Calls of these operators so far.
int64_t test_device_npu_count(void);
void test_device_define_operators(TestOperators operators);
/// The names of our operators that have no kernel of this device's own, with spaces between; valid until the next call.
const char *test_device_unmapped_operators(void);

/// A CTGroupMaker of groups that order operations as a device does: they are carried out one after another on a thread
/// of the group, through the store, and nobody waits for them. All-gather and barrier of tensors in host memory.
///
/// A group named `refused` cannot be made; in one named `failing` the third operation fails; in one named `held` calls
/// of the second one return when the group is aborted, in one named `stuck` when `test_group_release` lets them.
bool test_group_create(void *store, int32_t index, int32_t size, int64_t timeout_ms, const char *name,
                       void *_Nullable *_Nonnull out, char *message, int64_t capacity);
/// Groups of that name that were aborted so far.
int32_t test_group_abort_count(const char *name);
/// Groups of that name that came to an orderly end so far.
int32_t test_group_shutdown_count(const char *name);
void test_group_release(void);
#pragma clang assume_nonnull end

#ifdef __cplusplus
}
#endif
#endif
