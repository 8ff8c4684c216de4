import { expect, test } from "vitest";

// By its address: the types of the Worker and those of Node contradict each other.
const address = new URL("../../functions/projects/event-stream.ts", import.meta.url).href;
const { eventStream } = (await import(address)) as {
  eventStream: (
    read: () => Promise<{ events: string[]; isOver: boolean }>,
    after: number,
  ) => Promise<Response>;
};

const event = (seq: number): string => JSON.stringify({ seq });

async function read(seqs: number[], after: number): Promise<string> {
  const page = { events: seqs.filter((seq) => seq > after).map(event), isOver: true };
  return (await eventStream(() => Promise.resolve(page), after)).text();
}

test("a reader hears which events of a long build are no longer kept", async () => {
  const text = await read([13, 14], 4);
  expect(text).toBe(
    'retry: 1000\n\nevent: omitted\ndata: {"from":5,"to":12}\n\n' +
      'id: 13\nevent: build\ndata: {"seq":13}\n\nid: 14\nevent: build\ndata: {"seq":14}\n\nevent: end\ndata: {}\n\n',
  );
  expect(await read([13, 14], 12)).not.toContain("omitted");
  expect(await read([1, 2], 0)).not.toContain("omitted");
});
