import type { ChangeHub } from "./hub.ts";

/** The binding of the hub that tells the dashboard's readers what has changed. */
export interface ChangesBinding {
  CHANGE_HUB: DurableObjectNamespace<ChangeHub>;
}

export function changeHub({ CHANGE_HUB }: ChangesBinding): DurableObjectStub<ChangeHub> {
  return CHANGE_HUB.get(CHANGE_HUB.idFromName("all"));
}
