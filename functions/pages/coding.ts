import zlib from "node:zlib";

/** The content codings that documents come in. The runtime decodes gzip and br by itself. */
export type Coding = "gzip" | "br" | "zstd";

/** Quality that a proxy can afford: a document is coded once more, while somebody waits for it. One more costs a third, and saves 3%. */
const BROTLI_QUALITY = 3;
const GZIP_LEVEL = 4;

type Engine = ReturnType<typeof zlib.createZstdDecompress>;

export function zstdDecoded(body: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  return body.pipeThrough(through(zlib.createZstdDecompress(), null));
}

/** A flush costs as much as many chunks: those that come together share one. */
const FLUSH_AFTER_MS = 2;

/** Flushes whatever nothing follows at once, so that what streams goes on streaming. */
export function encoder(coding: Coding): TransformStream<Uint8Array, Uint8Array> {
  return through(ENCODERS[coding](), FLUSHES[coding]);
}

/** At once, where all of a body is there. */
export function encodedWhole(body: Uint8Array, coding: Coding): Uint8Array {
  switch (coding) {
    case "gzip":
      return zlib.gzipSync(body, { level: GZIP_LEVEL });
    case "br":
      return zlib.brotliCompressSync(body, {
        params: { [zlib.constants.BROTLI_PARAM_QUALITY]: BROTLI_QUALITY },
      });
    case "zstd":
      return zlib.zstdCompressSync(body);
  }
}

const ENCODERS: Record<Coding, () => Engine> = {
  gzip: () => zlib.createGzip({ level: GZIP_LEVEL }),
  br: () => zlib.createBrotliCompress({ params: { [zlib.constants.BROTLI_PARAM_QUALITY]: BROTLI_QUALITY } }),
  zstd: () => zlib.createZstdCompress(),
};

const FLUSHES: Record<Coding, number> = {
  gzip: zlib.constants.Z_SYNC_FLUSH,
  br: zlib.constants.BROTLI_OPERATION_FLUSH,
  zstd: zlib.constants.ZSTD_e_flush,
};

function through(engine: Engine, flush: number | null): TransformStream<Uint8Array, Uint8Array> {
  let ended: Promise<void>;
  let timer: ReturnType<typeof setTimeout> | null = null;
  const flushSoon = (kind: number): void => {
    timer ??= setTimeout(() => {
      timer = null;
      engine.flush(kind, () => undefined);
    }, FLUSH_AFTER_MS);
  };
  const noFlush = (): void => {
    if (timer !== null) clearTimeout(timer);
    timer = null;
  };
  return new TransformStream<Uint8Array, Uint8Array>({
    start(controller) {
      engine.on("data", (chunk: Uint8Array) => controller.enqueue(new Uint8Array(chunk)));
      ended = new Promise((resolve, reject) => {
        engine.on("end", resolve);
        engine.on("error", (error) => {
          controller.error(error);
          reject(error);
        });
      });
      ended.catch(() => undefined); // the stream carries it
    },
    transform(chunk) {
      if (flush !== null) flushSoon(flush);
      return new Promise((resolve) => {
        engine.write(chunk, () => resolve());
      });
    },
    flush() {
      noFlush();
      engine.end();
      return ended;
    },
    cancel() {
      noFlush();
      engine.destroy();
    },
  });
}
