/* The newline fix: each record ends with a line feed, so that records written one after the other stay apart. */
#include "millrace.h"

static millrace_outcome millrace_transform(const millrace_record *record) {
  millrace_bytes data = record->data;
  if (data.len > 0 && data.bytes[data.len - 1] == '\n') return millrace_ok(data.bytes, data.len);
  *millrace_room(record) = '\n';
  return millrace_ok(data.bytes, data.len + 1);
}
