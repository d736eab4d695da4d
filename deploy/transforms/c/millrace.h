/* What a Millrace transform in C needs: the records that it is given, the outcomes that it gives, and memory.
 *
 * It is the canonical ABI of proto/wit/transform.wit, written out, so that nothing but a C compiler for wasm32 is needed: no
 * libc, no WASI, no generated code. Include it in one file and define millrace_transform there.
 *
 * Memory is handed out and never taken back, because a module is instantiated anew for each call. */
#ifndef MILLRACE_H
#define MILLRACE_H

#include <stddef.h>
#include <stdint.h>

typedef struct { const uint8_t *bytes; size_t len; } millrace_bytes;
typedef struct { millrace_bytes name, value; } millrace_partition_key;
typedef struct { const millrace_partition_key *keys; size_t len; } millrace_partition_keys;

/* What a transform may see of a record. Text is UTF-8 and has no closing NUL. */
typedef struct {
  millrace_bytes id;
  int64_t arrival_time_ms;
  millrace_bytes partition_key;
  millrace_bytes data;
  millrace_partition_keys partition_keys;
} millrace_record;

/* One thing that a record became. */
typedef struct {
  millrace_bytes data;
  millrace_partition_keys partition_keys;
} millrace_output;

/* What became of a record: made by millrace_ok, millrace_dropped and millrace_failed. */
typedef struct {
  uint8_t kind;
  union {
    struct { const millrace_output *outputs; size_t len; } ok;
    millrace_bytes reason;
  };
} millrace_outcome;

/* Yours: what becomes of one record. */
static millrace_outcome millrace_transform(const millrace_record *record);

extern uint8_t __heap_base;

/* Zeroed memory; a module that asks for more than it may have ends, and its records are set aside. */
static void *millrace_alloc(size_t bytes, size_t align) {
  static uintptr_t next = 0;
  if (next == 0) next = (uintptr_t)&__heap_base;
  uintptr_t at = (next + align - 1) & ~(uintptr_t)(align - 1);
  size_t have = __builtin_wasm_memory_size(0) << 16;
  if (at + bytes < at) __builtin_trap();
  if (at + bytes > have) {
    size_t pages = (at + bytes - have + 0xffff) >> 16;
    /* Twice what there is, so that many small requests grow seldom. */
    size_t wanted = pages > have >> 16 ? pages : have >> 16;
    if (__builtin_wasm_memory_grow(0, wanted) == (size_t)-1 && __builtin_wasm_memory_grow(0, pages) == (size_t)-1)
      __builtin_trap();
  }
  next = at + bytes;
  return (void *)at;
}

/* The record goes on as one output with these bytes. */
static inline millrace_outcome millrace_ok(const void *bytes, size_t len) {
  millrace_output *output = millrace_alloc(sizeof *output, 8);
  output->data = (millrace_bytes){bytes, len};
  return (millrace_outcome){.kind = 0, .ok = {output, 1}};
}

/* The record goes on as several outputs, at least one. */
static inline millrace_outcome millrace_ok_many(const millrace_output *outputs, size_t len) {
  return (millrace_outcome){.kind = 0, .ok = {outputs, len}};
}

/* The record is left out on purpose. */
static inline millrace_outcome millrace_dropped(void) { return (millrace_outcome){.kind = 1}; }

/* The record cannot be transformed, for this reason, which is UTF-8. */
static inline millrace_outcome millrace_failed(const char *reason) {
  size_t len = 0;
  while (reason[len] != 0) len++;
  return (millrace_outcome){.kind = 2, .reason = {(const uint8_t *)reason, len}};
}

__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_len, size_t align, size_t len) {
  uint8_t *made = millrace_alloc(len, align);
  if (old != NULL) __builtin_memcpy(made, old, old_len < len ? old_len : len);
  return made;
}

typedef struct { const millrace_outcome *outcomes; size_t len; } millrace_answer;

__attribute__((export_name("transform"))) const millrace_answer *millrace_export(const millrace_record *records, size_t len) {
  millrace_outcome *outcomes = millrace_alloc(len * sizeof *outcomes, 8);
  for (size_t index = 0; index < len; index++) outcomes[index] = millrace_transform(&records[index]);
  millrace_answer *answer = millrace_alloc(sizeof *answer, 8);
  *answer = (millrace_answer){outcomes, len};
  return answer;
}

_Static_assert(sizeof(millrace_record) == 40 && sizeof(millrace_output) == 16 && sizeof(millrace_outcome) == 12,
               "the layout is that of the canonical ABI on wasm32");

#endif
