import { once } from "node:events";
import { WebSocket } from "ws";
import { z } from "zod";

const context = z.object({
  method: z.literal("Runtime.executionContextCreated"),
  params: z.object({ context: z.object({ id: z.number() }) }),
});
const usage = z.object({
  id: z.literal(3),
  result: z.object({
    usedSize: z.number(),
    embedderHeapUsedSize: z.number(),
    backingStorageSize: z.number(),
  }),
});

/**
 * What lives in the Worker's isolate after a full collection, in MiB: its heap, the platform's objects and the bytes of
 * buffers. The process's own size says little: V8 and the allocator keep what a burst once took.
 */
export async function liveHeapMiB(inspectorPort: number): Promise<number> {
  const socket = new WebSocket(`ws://127.0.0.1:${inspectorPort}/signalbox`);
  await once(socket, "open");
  const measured = new Promise<number>((resolve, reject) => {
    socket.on("close", () => reject(new Error("The inspector hung up.")));
    socket.on("message", (data: Buffer) => {
      const message: unknown = JSON.parse(data.toString());
      const created = context.safeParse(message).data;
      const told = usage.safeParse(message).data;
      if (created) {
        // What the first collection finalizes, the second frees.
        const params = { expression: "gc(); gc();", contextId: created.params.context.id };
        socket.send(JSON.stringify({ id: 2, method: "Runtime.evaluate", params }));
        socket.send(JSON.stringify({ id: 3, method: "Runtime.getHeapUsage" }));
      }
      if (told) {
        const { usedSize, embedderHeapUsedSize, backingStorageSize } = told.result;
        resolve((usedSize + embedderHeapUsedSize + backingStorageSize) / 1024 ** 2);
      }
    });
  });
  socket.send(JSON.stringify({ id: 1, method: "Runtime.enable" }));
  try {
    return await measured;
  } finally {
    socket.close();
    await once(socket, "close");
  }
}
