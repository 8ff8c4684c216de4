import type { StateStore } from "./store.ts";

/** Kinds of records that somebody may be looking at. */
const TOPICS: Record<string, (id: string) => string> = {
  runner: (id) => `runner:${id}`,
  project: (id) => `project:${id}`,
  janitor: () => "janitor",
};

/** Makes a store tell the topic of each change that it has carried out. */
export function tellingStore(store: StateStore, tell: (topic: string) => void): StateStore {
  const commit = store.commit.bind(store);
  const writeRecord = store.writeRecord.bind(store);
  const deleteRecord = store.deleteRecord.bind(store);
  store.commit = async (change) => {
    const result = await commit(change);
    if (result.outcome === "committed") tell(`app:${change.app}`);
    return result;
  };
  store.writeRecord = async (kind, id, ...rest) => {
    const result = await writeRecord(kind, id, ...rest);
    const topic = TOPICS[kind]?.(id);
    if (result.written && topic !== undefined) tell(topic);
    return result;
  };
  store.deleteRecord = async (kind, id, version) => {
    const deleted = await deleteRecord(kind, id, version);
    const topic = TOPICS[kind]?.(id);
    if (deleted && topic !== undefined) tell(topic);
    return deleted;
  };
  return store;
}
