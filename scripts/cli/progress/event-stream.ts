import { EventSourceParserStream, type EventSourceMessage } from "eventsource-parser/stream";

/** A healthy stream is never silent for so long: it sends a comment every 15 s. */
const SILENCE_LIMIT_MS = 45_000;
/** An event is a page of a log at most. */
const EVENT_LIMIT_CHARACTERS = 8 * 1024 * 1024;

/** Server-sent events as they come, until the stream ends. Throws when it breaks or falls silent. */
export async function* readEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<EventSourceMessage> {
  const silence = new AbortController();
  const fallSilent = (): void => silence.abort(new Error("the stream fell silent"));
  const timer = setTimeout(fallSilent, SILENCE_LIMIT_MS);
  const decoder = new TextDecoder();
  const heard = new TransformStream<Uint8Array, string>({
    transform(chunk, controller) {
      timer.refresh();
      controller.enqueue(decoder.decode(chunk, { stream: true }));
    },
  });
  try {
    yield* body
      .pipeThrough(heard, { signal: silence.signal })
      .pipeThrough(new EventSourceParserStream({ maxBufferSize: EVENT_LIMIT_CHARACTERS }));
  } finally {
    clearTimeout(timer);
  }
}
