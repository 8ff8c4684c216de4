import { relative, resolve, dirname, sep } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * The rooms of functions/, from the ground up. A room imports from itself and from the floors below, types included;
 * rooms of one floor don't know each other. docs/architecture.md shows them from the top.
 */
export const FLOORS: readonly (readonly string[])[] = [
  ["protocol", "own-cookies.ts"],
  ["errors.ts", "answer-body.ts", "request-host.ts", "operator-host.ts", "operator-cookie.ts"],
  ["durable-object-call.ts", "changes"],
  ["auth.ts"],
  ["apps"],
  ["state"],
  ["railway", "access"],
  ["config.ts"],
  ["client-address.ts"],
  ["edge", "runners", "pages"],
  ["providers"],
  ["janitor"],
  ["rollouts", "projects"],
  ["control"],
  ["dashboard"],
  ["index.ts"],
];

const functions = resolve(dirname(fileURLToPath(import.meta.url)), "../../functions");

/** The folder or file right below functions/, or null for what is elsewhere. */
function roomOf(path: string): string | null {
  const [first] = relative(functions, path).split(sep);
  return first === undefined || first === "" || first === ".." ? null : first;
}

function floorOf(room: string): number {
  return FLOORS.findIndex((rooms) => rooms.includes(room));
}

/** What oxlint hands to a rule, as far as it is used here (its interface is ESLint's). */
interface RuleContext {
  filename: string;
  report(problem: { node: ImportNode; message: string }): void;
}

interface ImportNode {
  source: { value: unknown } | null;
}

function check(context: RuleContext, room: string, node: ImportNode): void {
  const specifier = node.source?.value;
  if (typeof specifier !== "string" || !specifier.startsWith(".")) return;
  const other = roomOf(resolve(dirname(context.filename), specifier));
  if (other === null || other === room) return;
  const unplaced = [room, other].find((name) => floorOf(name) === -1);
  if (unplaced !== undefined) {
    const message = `functions/${unplaced} has no floor yet: give it one in scripts/lint/floors.ts.`;
    context.report({ node, message });
  } else if (floorOf(other) >= floorOf(room)) {
    const message = `functions/${room} imports from lower floors only, and functions/${other} isn't lower.`;
    context.report({ node, message });
  }
}

const floors = {
  create(context: RuleContext): Record<string, (node: ImportNode) => void> {
    const room = roomOf(context.filename);
    if (room === null) return {};
    const visit = (node: ImportNode): void => check(context, room, node);
    return { ImportDeclaration: visit, ExportNamedDeclaration: visit, ExportAllDeclaration: visit };
  },
};

export default { meta: { name: "signalbox" }, rules: { floors } };
