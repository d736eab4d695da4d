// The newline fix: each record ends with a line feed, so that records written one after the other stay apart.

const LINE_FEED = 10;

export function transform(batch) {
  return batch.map(({ data }) => {
    if (data.at(-1) === LINE_FEED) return ok(data);
    const line = new Uint8Array(data.length + 1);
    line.set(data);
    line[data.length] = LINE_FEED;
    return ok(line);
  });
}

// One output, without partition keys. Others: { tag: 'dropped' } and { tag: 'failed', val: 'the reason' }.
function ok(data) {
  return { tag: 'ok', val: [{ data, partitionKeys: [] }] };
}
