import { randomBytes } from "node:crypto";
import { chmod, mkdir, readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";
import {
  CREDENTIAL_BYTES,
  CREDENTIAL_HEADER,
  CREDENTIAL_PATTERN,
  CREDENTIAL_PREFIX,
} from "../../functions/protocol/enrolment.ts";
import { isObject } from "../../functions/protocol/control.ts";
import { SettingError } from "../config.ts";
import { hasSystemCode } from "../runner-error.ts";
import type { Log } from "../terminal/log.ts";
import { writeFileAtomically } from "../workspaces/atomic-file.ts";
import { credentialFile } from "./credential-file.ts";

/** What the runner comes with at its next attempt. */
export interface Login {
  /** What messages call it. */
  name: string;
  headers: readonly (readonly [name: string, value: string])[];
}

interface Way extends Login {
  secret: string;
  /** Becomes the runner's own once the hub says so. */
  enrols: boolean;
}

/** What is in the file. */
interface Stored {
  /** The runner's own secret. */
  secret: string | null;
  /** Made for an enrolment whose success the runner hasn't seen; the hub may have. */
  next: string | null;
}

export interface CredentialOptions {
  workspaceRoot: string;
  runnerId: string;
  /** Null: the runner has a credential of its own. */
  sharedSecret: string | null;
  /** Whether it may get one. */
  enrols: boolean;
  log: Log;
  /** Told each secret that no log may show. */
  onSecret: (secret: string) => void;
}

/**
 * What a runner proves itself with. With the shared secret it enrols: it makes a secret of its own, keeps it, and sends
 * it along. As it is kept before it is sent, and the hub takes it again from whoever has it, neither side's end at any
 * moment locks the runner out.
 */
export class Credential {
  readonly #options: CredentialOptions;
  readonly #file: string;
  readonly #sharedSecret: string | null;
  #stored: Stored = { secret: null, next: null };
  /** Given by the operator, and not used yet. */
  #given: string | null = null;
  /** Which of the ways is next. */
  #at = 0;

  constructor(options: CredentialOptions) {
    this.#options = options;
    this.#file = credentialFile(options.workspaceRoot, options.runnerId);
    const { sharedSecret } = options;
    // An operator gives a runner its credential where the shared secret would be.
    const isGiven = sharedSecret !== null && CREDENTIAL_PATTERN.test(sharedSecret);
    this.#sharedSecret = isGiven ? null : sharedSecret;
    this.#given = isGiven ? sharedSecret : null;
  }

  /** Reads what is kept. Throws {@link SettingError} if that is damaged and there is nothing else to come with. */
  async open(): Promise<void> {
    const kept = await this.#read();
    if (kept === "damaged") {
      const remedy = `Take the id back by: signalbox runners credentials ${this.#options.runnerId} --revoke`;
      if (this.#sharedSecret === null && this.#given === null) {
        throw new SettingError(
          `${this.#file}, this runner's own credential, is damaged. ${remedy}; then delete the file and set RUNNER_SHARED_SECRET.`,
        );
      }
      this.#options.log.warn(`[runner] ${this.#file}, its own credential, is damaged. ${remedy}`);
    } else if (kept !== null) this.#stored = kept;
    if (this.#given === this.#stored.secret) this.#given = null;
    for (const secret of [this.#stored.secret, this.#stored.next]) {
      if (secret !== null) this.#options.onSecret(secret);
    }
  }

  /** What to come with now. */
  async login(): Promise<Login> {
    return this.#way();
  }

  /** The hub took the last login; `enrolled` is what it said of it. */
  async accepted(enrolled: boolean): Promise<void> {
    const way = await this.#way();
    const isNew = way.secret !== this.#stored.secret && CREDENTIAL_PATTERN.test(way.secret);
    const secret = way.enrols ? (enrolled ? this.#stored.next : null) : isNew ? way.secret : null;
    if (secret === null) return;
    this.#stored = { secret, next: null };
    this.#given = null;
    this.#at = 0;
    const spare = this.#sharedSecret === null ? "" : "; RUNNER_SHARED_SECRET can be taken off it";
    if (await this.#keep(this.#stored)) {
      this.#options.log.info(`🔑 This runner has a credential of its own, in ${this.#file}${spare}`);
    }
  }

  /** The hub didn't take it: the next login is another, where there is one. Answers what to do about it. */
  async refused(): Promise<string> {
    const { name } = await this.#way();
    const { length } = await this.#ways();
    this.#at = (this.#at + 1) % length;
    if (this.#sharedSecret !== null || name === SHARED_NAME) return "";
    const { runnerId } = this.#options;
    return `it was revoked or replaced, or is of another installation: set RUNNER_SHARED_SECRET to enrol again, or to what this prints: signalbox runners credentials ${runnerId}`;
  }

  async #way(): Promise<Way> {
    const ways = await this.#ways();
    const way = ways[this.#at % ways.length];
    if (way === undefined) throw new SettingError("Missing: RUNNER_SHARED_SECRET.");
    return way;
  }

  async #ways(): Promise<Way[]> {
    const { secret } = this.#stored;
    const own = this.#given ?? secret;
    const ways: Way[] = own === null ? [] : [this.#own(own)];
    if (this.#sharedSecret !== null) {
      const enrols = own === null || this.#at > 0 ? await this.#next() : null;
      ways.push({
        name: SHARED_NAME,
        secret: this.#sharedSecret,
        enrols: enrols !== null,
        headers: [
          ...bearer(this.#sharedSecret),
          ...(enrols === null ? [] : [[CREDENTIAL_HEADER, enrols] as const]),
        ],
      });
    } else if (this.#stored.next !== null) ways.push(this.#own(this.#stored.next));
    return ways;
  }

  #own(secret: string): Way {
    const name = `its own credential, ${secret === this.#given ? SHARED_NAME : this.#file}`;
    return { name, secret, enrols: false, headers: bearer(secret) };
  }

  /** The secret to enrol with. Null if it can't be kept: then the shared one has to do. */
  async #next(): Promise<string | null> {
    if (!this.#options.enrols) return null;
    if (this.#stored.next !== null) return this.#stored.next;
    const next = CREDENTIAL_PREFIX + randomBytes(CREDENTIAL_BYTES).toString("hex");
    this.#options.onSecret(next);
    if (!(await this.#keep({ ...this.#stored, next }))) return null;
    this.#stored.next = next;
    return next;
  }

  async #keep(stored: Stored): Promise<boolean> {
    try {
      await mkdir(dirname(this.#file), { recursive: true, mode: 0o700 });
      await chmod(dirname(this.#file), 0o700);
      await writeFileAtomically(this.#file, `${JSON.stringify(stored)}\n`, 0o600);
      return true;
    } catch (error) {
      if (!hasSystemCode(error)) throw error;
      this.#options.log.warn(
        `[runner] ${this.#file}, its own credential, can't be written: ${error.message}`,
      );
      return false;
    }
  }

  async #read(): Promise<Stored | "damaged" | null> {
    let text: string;
    try {
      text = await readFile(this.#file, "utf8");
      if (((await stat(this.#file)).mode & 0o077) !== 0) {
        await chmod(this.#file, 0o600);
        this.#options.log.warn(`[runner] ${this.#file}, its own credential, was readable by others`);
      }
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
      throw error;
    }
    return parse(text) ?? "damaged";
  }
}

const SHARED_NAME = "RUNNER_SHARED_SECRET";

function bearer(secret: string): [name: string, value: string][] {
  return [["authorization", `Bearer ${secret}`]];
}

function parse(text: string): Stored | null {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isObject(parsed)) return null;
  const { secret = null, next = null } = parsed;
  if (!isSecret(secret) || !isSecret(next) || (secret === null && next === null)) return null;
  return { secret, next };
}

function isSecret(value: unknown): value is string | null {
  return value === null || (typeof value === "string" && CREDENTIAL_PATTERN.test(value));
}
