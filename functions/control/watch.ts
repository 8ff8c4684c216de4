const LOOK_EVERY_MS = 2_000;
/** A Worker may make 1,000 calls for one request. A stream that ends before goes on in the client's next one. */
const LOOKS_LIMIT = 400;

export interface Looks {
  topics: readonly string[];
  /** What no change tells of. Where it throws, the next look may see it. */
  look: (topic: string) => Promise<object>;
  /** Aborts when the client has left. */
  signal: AbortSignal;
}

/** Passes a stream of changes on, and among them what was looked at every 2 s, where the look before saw something else. */
export function withLooks(
  changes: ReadableStream<Uint8Array>,
  { topics, look, signal }: Looks,
): ReadableStream<Uint8Array> {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const writer = writable.getWriter();
  const reader = changes.getReader();
  const over = new AbortController();
  const end = (): void => over.abort();
  signal.addEventListener("abort", end);

  const passOn = async (): Promise<void> => {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      await writer.write(value);
    }
  };
  const lookOn = async (): Promise<void> => {
    const encoder = new TextEncoder();
    const last = new Map<string, string>();
    for (let looks = 0; looks < LOOKS_LIMIT && !over.signal.aborted; looks += topics.length) {
      for (const topic of topics) {
        const seen = await look(topic).catch(() => null);
        const text = JSON.stringify({ topic, ...seen });
        if (seen === null || last.get(topic) === text) continue;
        last.set(topic, text);
        await writer.write(encoder.encode(`event: watched\ndata: ${text}\n\n`));
      }
      await pause(over.signal);
    }
  };
  void Promise.race([passOn(), lookOn()])
    .catch(() => undefined) // the reader has left
    .then(end)
    .then(() => Promise.allSettled([reader.cancel(), writer.close()]))
    .finally(() => signal.removeEventListener("abort", end));
  return readable;
}

function pause(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, LOOK_EVERY_MS);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done);
  });
}
