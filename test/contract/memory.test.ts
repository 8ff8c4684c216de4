import { MemoryStore } from "../helpers/memory-store.ts";
import { describeStateStore } from "./state-store.ts";

describeStateStore("the store in memory that unit tests work on", () =>
  Promise.resolve({ store: new MemoryStore(Date.now), close: () => Promise.resolve() }),
);
