import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair, SignJWT } from "jose";

export interface Signed {
  repository?: string;
  ref?: string;
  audience?: string;
  issuer?: string;
  expiresAt?: number;
  by?: CryptoKey;
}

/** Stands in for GitHub: signs tokens of workflows with a real key, publishes it, and hands tokens out to jobs. */
export class WorkflowIssuer {
  isDown = false;
  keyReads = 0;
  /** What a job gets. */
  handedOut = "";
  /** With which audience and Bearer a job asked last. */
  askedFor: (string | null)[] = [];
  #origin = "";
  readonly #key: CryptoKey;
  readonly #server;

  private constructor(key: CryptoKey, jwk: object) {
    this.#key = key;
    this.#server = createServer((request, response) => {
      const url = new URL(request.url ?? "", "http://issuer");
      if (url.pathname === "/.well-known/jwks") {
        this.keyReads += 1;
        response.writeHead(this.isDown ? 503 : 200, { "content-type": "application/json" });
        response.end(JSON.stringify({ keys: [jwk] }));
      } else {
        this.askedFor = [url.searchParams.get("audience"), request.headers.authorization ?? null];
        response.end(JSON.stringify({ value: this.handedOut }));
      }
    });
  }

  static async start(): Promise<WorkflowIssuer> {
    const { privateKey, publicKey } = await generateKeyPair("RS256");
    const jwk = { ...(await exportJWK(publicKey)), kid: "one", alg: "RS256", use: "sig" };
    const issuer = new WorkflowIssuer(privateKey, jwk);
    await once(issuer.#server.listen(0, "127.0.0.1"), "listening");
    issuer.#origin = `http://127.0.0.1:${(issuer.#server.address() as AddressInfo).port}`;
    return issuer;
  }

  get origin(): string {
    return this.#origin;
  }

  /** What GitHub puts into a job's environment that may have tokens. */
  get environment(): Record<string, string> {
    return {
      ACTIONS_ID_TOKEN_REQUEST_URL: `${this.#origin}/token?api-version=2.0`,
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: "of-the-job",
    };
  }

  sign({ repository = "you/shop", ref = "refs/heads/main", ...more }: Signed = {}): Promise<string> {
    const now = Math.floor(Date.now() / 1_000);
    return new SignJWT({ repository, ref })
      .setProtectedHeader({ alg: "RS256", kid: "one" })
      .setIssuer(more.issuer ?? this.#origin)
      .setAudience(more.audience ?? "signalbox")
      .setIssuedAt(now - 10)
      .setExpirationTime(more.expiresAt ?? now + 300)
      .sign(more.by ?? this.#key);
  }

  stop(): void {
    this.#server.close();
  }
}
