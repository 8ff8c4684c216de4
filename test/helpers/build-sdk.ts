import { buildSdk } from "../../scripts/build/sdk.ts";

/** The examples import the sdk as its users do, built. */
export default async function setup(): Promise<void> {
  await buildSdk({ types: false });
}
