// Accounts of tensors that have shapes and no memory: those of libtorch's `meta` device.
#ifndef CTORCH_IMAGINED_H
#define CTORCH_IMAGINED_H
#include "ctorch.h"
#ifdef __cplusplus
extern "C" {
#endif
#pragma clang assume_nonnull begin

/// What meta tensors would take, by purpose, from moment to moment. A tensor keeps its account alive.
typedef struct ct_ledger ct_ledger;

/// An empty account of `purposes` purposes, numbered from 0; its first moment has begun. NULL where there is no memory.
///
/// `device_kind` is the c10::DeviceType whose operators' memory is accounted for.
ct_ledger *_Nullable ct_ledger_create(int32_t device_kind, int32_t purposes);
void ct_ledger_free(ct_ledger *ledger);
/// Makes this the account of what this thread allocates on meta; NULL: none.
void ct_ledger_use(ct_ledger *_Nullable ledger);
/// Sets what this thread allocates for from now on, with or without an account; gives the purpose before, at first 0.
int32_t ct_ledger_purpose(int32_t purpose);
/// Ends a moment and begins the next one.
void ct_ledger_begin_moment(ct_ledger *ledger);
/// How many moments have begun.
int64_t ct_ledger_moments(const ct_ledger *ledger);
/// Bytes by purpose when they were most in all within a moment, which begins with what was there, and at its end.
void ct_ledger_moment(const ct_ledger *ledger, int64_t moment, int64_t *peak, int64_t *live_at_end);
/// Adds bytes that are no tensor's; negative numbers give them back.
void ct_ledger_take(ct_ledger *ledger, int64_t byte_count, int32_t purpose);
/// Moves a tensor's bytes to another purpose; nothing where no account has them.
void ct_tensor_purpose(ct_tensor *tensor, int32_t purpose);

#pragma clang assume_nonnull end
#ifdef __cplusplus
}
#endif
#endif
