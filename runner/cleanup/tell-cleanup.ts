import { cleanupLines } from "../../functions/protocol/cleanup.ts";
import { askForCleanup } from "./cleanup-door.ts";

/** `signalbox-runner cleanup` */
export async function tellCleanup(asked: {
  workspaceRoot: string;
  dryRun: boolean;
  json: boolean;
}): Promise<void> {
  const report = await askForCleanup(asked.workspaceRoot, asked.dryRun);
  console.log(asked.json ? JSON.stringify(report) : cleanupLines(report).join("\n"));
}
