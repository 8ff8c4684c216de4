/** What workerd has of it, as far as it is used here: Node's own types and the Worker's contradict each other. */
declare module "node:zlib" {
  interface Engine {
    write(chunk: Uint8Array, done?: () => void): void;
    flush(kind: number, done: () => void): void;
    end(): void;
    destroy(): void;
    on(event: "data", listener: (chunk: Uint8Array) => void): void;
    on(event: "end", listener: () => void): void;
    on(event: "error", listener: (error: Error) => void): void;
  }
  interface Zlib {
    createGzip(options: { level: number }): Engine;
    createBrotliCompress(options: { params: Record<number, number> }): Engine;
    createZstdCompress(): Engine;
    createZstdDecompress(): Engine;
    gzipSync(body: Uint8Array, options: { level: number }): Uint8Array;
    brotliCompressSync(body: Uint8Array, options: { params: Record<number, number> }): Uint8Array;
    zstdCompressSync(body: Uint8Array): Uint8Array;
    constants: {
      Z_SYNC_FLUSH: number;
      BROTLI_OPERATION_FLUSH: number;
      BROTLI_PARAM_QUALITY: number;
      ZSTD_e_flush: number;
    };
  }
  const zlib: Zlib;
  export default zlib;
}
