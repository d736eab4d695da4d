/* What a Millrace transform in C needs: the records that it is given, the outcomes that it gives, and memory.
 *
 * It is the world `packed-transformer` of proto/wit/transform.wit, written out, so that nothing but a C compiler for wasm32 is
 * needed: no libc, no WASI, no generated code. Include it in one file and define millrace_transform there. Modules built with the
 * header of before, for the world `transformer`, go on to run as they are.
 *
 * A batch comes in one piece, and its positions become pointers here. The answer is a piece of memory as it is, from the first
 * byte that an outcome points to, so that nothing is copied here that was not changed.
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

/* How many bytes behind a record's data are free to be written. */
#define MILLRACE_ROOM 16

/* The first of them: what is put there goes on where an output is the data and that much more. */
static inline uint8_t *millrace_room(const millrace_record *record) {
  return (uint8_t *)record->data.bytes + record->data.len;
}

/* Yours: what becomes of one record. Its data may be changed in place. */
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

/* What follows is called by Millrace. A batch begins where tables may. */
__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_len, size_t align, size_t len) {
  uint8_t *made = millrace_alloc(len, align < 8 ? 8 : align);
  if (old != NULL) __builtin_memcpy(made, old, old_len < len ? old_len : len);
  return made;
}

typedef struct { uint32_t len, zero; millrace_record records[]; } millrace_batch;
typedef struct { const uint8_t *base; const millrace_outcome *outcomes; size_t len; } millrace_foot;

static inline void millrace_point(millrace_bytes *bytes, const uint8_t *batch) { bytes->bytes = batch + (uintptr_t)bytes->bytes; }

static void millrace_unpack(uint8_t *batch, millrace_record *record) {
  millrace_point(&record->id, batch);
  millrace_point(&record->partition_key, batch);
  millrace_point(&record->data, batch);
  millrace_partition_key *keys = (millrace_partition_key *)(batch + (uintptr_t)record->partition_keys.keys);
  record->partition_keys.keys = keys;
  for (size_t index = 0; index < record->partition_keys.len; index++) {
    millrace_point(&keys[index].name, batch);
    millrace_point(&keys[index].value, batch);
  }
}

static inline const uint8_t *millrace_first(const uint8_t *first, const void *bytes, size_t len) {
  return len > 0 && (const uint8_t *)bytes < first ? bytes : first;
}

/* The first byte of all that an outcome points to, or that of before. */
static const uint8_t *millrace_first_of(const uint8_t *first, const millrace_outcome *outcome) {
  if (outcome->kind == 2) return millrace_first(first, outcome->reason.bytes, outcome->reason.len);
  if (outcome->kind != 0) return first;
  first = millrace_first(first, outcome->ok.outputs, outcome->ok.len);
  for (size_t index = 0; index < outcome->ok.len; index++) {
    const millrace_output *output = &outcome->ok.outputs[index];
    const millrace_partition_keys *keys = &output->partition_keys;
    first = millrace_first(first, output->data.bytes, output->data.len);
    first = millrace_first(first, keys->keys, keys->len);
    for (size_t key = 0; key < keys->len; key++) {
      first = millrace_first(first, keys->keys[key].name.bytes, keys->keys[key].name.len);
      first = millrace_first(first, keys->keys[key].value.bytes, keys->keys[key].value.len);
    }
  }
  return first;
}

__attribute__((export_name("transform-packed"))) const millrace_bytes *millrace_export(uint8_t *bytes, size_t bytes_len) {
  static millrace_bytes answer;
  (void)bytes_len;
  millrace_batch *batch = (millrace_batch *)bytes;
  millrace_outcome *outcomes = millrace_alloc(batch->len * sizeof *outcomes, 8);
  const uint8_t *base = (const uint8_t *)outcomes;
  for (size_t index = 0; index < batch->len; index++) {
    millrace_unpack(bytes, &batch->records[index]);
    outcomes[index] = millrace_transform(&batch->records[index]);
    base = millrace_first_of(base, &outcomes[index]);
  }
  /* The last that is allocated is where memory ends. */
  millrace_foot *foot = millrace_alloc(sizeof *foot, 4);
  *foot = (millrace_foot){base, outcomes, batch->len};
  answer = (millrace_bytes){base, (size_t)((const uint8_t *)(foot + 1) - base)};
  return &answer;
}

_Static_assert(sizeof(millrace_record) == 40 && sizeof(millrace_output) == 16 && sizeof(millrace_outcome) == 12,
               "the layout is that of packed batches on wasm32");

#endif
